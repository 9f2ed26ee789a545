"""Flags that the code should be rid of: each is a branch that somebody must still test."""

from __future__ import annotations

from datetime import datetime, timedelta

from flags.models import Flag

UNCHANGED_DAYS = 60
"""A flag that is all on or all off for so long without a change is taken for decided."""


def stale_reason(flag: Flag, now: datetime) -> str:
    """Return why the flag should go; empty if it should not."""
    if flag.expires_at and flag.expires_at <= now:
        return f"It expired on {flag.expires_at:%Y-%m-%d}."
    is_decided = not flag.is_enabled or flag.rollout_percentage in (0, 100)
    if is_decided and now - flag.changed_at >= timedelta(days=UNCHANGED_DAYS) and not flag.rules.exists():
        what = "on" if flag.is_enabled and flag.rollout_percentage == 100 else "off"
        return f"It is {what} for everybody, and was not changed for {UNCHANGED_DAYS} days."
    return ""


def find_stale_flags(*, now: datetime) -> list[tuple[Flag, str]]:
    """Return the flags that should go, and why."""
    return [(flag, why) for flag in Flag.objects.filter(is_archived=False) if (why := stale_reason(flag, now))]
