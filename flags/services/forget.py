"""What segments forget of a unit that is erased, and what they hold of one. The record of changes has no ids."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from flags.documents import UNIT_LISTS
from flags.models import PendingChange, Segment, Subject
from flags.models.guarded import writing
from flags.services.change import Actor, change


@transaction.atomic
def forget_unit(*, unit_id: str, now: datetime) -> None:
    """Take the unit off every list, and off those that wait for approval."""
    for segment in listing(unit_id):
        lists = {name: without(unit_id, getattr(segment, name)) for name in UNIT_LISTS}
        actor, why = Actor(system="erasure"), "A member was erased."
        change(subject=Subject.SEGMENT, key=segment.key, patch=lists, actor=actor, why=why, now=now)
    for waiting in PendingChange.objects.filter(subject=Subject.SEGMENT):
        lists = {name: without(unit_id, waiting.patch[name]) for name in UNIT_LISTS if name in waiting.patch}
        if any(lists[name] != waiting.patch[name] for name in lists):
            waiting.patch |= lists
            with writing():
                waiting.save()


def listing(unit_id: str) -> list[Segment]:
    """Return the segments that list the unit. There are few, so that they are looked through here."""
    return [row for row in Segment.objects.all() if any(unit_id in getattr(row, name) for name in UNIT_LISTS)]


def without(unit_id: str, ids: list[str]) -> list[str]:
    """Return *ids* without this one."""
    return [one for one in ids if one != unit_id]
