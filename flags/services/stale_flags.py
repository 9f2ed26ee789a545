"""Stale flags: flags that should be removed from the code, because each is a branch that must still be tested."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.translation import gettext

from flags.models import Flag

UNCHANGED_DAYS = 60
"""A flag that has been fully on or fully off for this many days without a change counts as decided."""


def stale_reason(flag: Flag, now: datetime) -> str:
    """Return why the flag is stale, or an empty string."""
    if flag.expires_at and flag.expires_at <= now:
        return gettext("It expired on {day}.").format(day=f"{flag.expires_at:%Y-%m-%d}")
    is_decided = not flag.is_enabled or flag.rollout_percentage in (0, 100)
    if is_decided and now - flag.changed_at >= timedelta(days=UNCHANGED_DAYS) and not flag.rules.exists():
        is_on = flag.is_enabled and flag.rollout_percentage == 100
        text = (
            gettext("It is on for all members, and has not changed for {days} days.")
            if is_on
            else gettext("It is off for all members, and has not changed for {days} days.")
        )
        return text.format(days=UNCHANGED_DAYS)
    return ""


def find_stale_flags(*, now: datetime) -> list[tuple[Flag, str]]:
    """Return the stale flags with the reasons."""
    return [(flag, why) for flag in Flag.objects.filter(is_archived=False) if (why := stale_reason(flag, now))]
