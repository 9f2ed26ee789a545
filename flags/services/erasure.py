"""What segments forget of a unit that is erased, and what they hold of one. The record of changes has no ids."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from flags.documents import UNIT_ID_FIELDS
from flags.models import ChangeSubject, PendingChange, Segment
from flags.models.guarded import allow_guarded_writes
from flags.services.change import Actor, apply_change


@transaction.atomic
def erase_unit_from_segments(*, unit_id: str, now: datetime) -> None:
    """Take the unit off every list, and off those that wait for approval."""
    for segment in find_segments_listing(unit_id):
        lists = {name: remove_id(unit_id, getattr(segment, name)) for name in UNIT_ID_FIELDS}
        actor, why = Actor(system="erasure"), "A member was erased."
        apply_change(subject=ChangeSubject.SEGMENT, key=segment.key, patch=lists, actor=actor, why=why, now=now)
    for waiting in PendingChange.objects.filter(subject=ChangeSubject.SEGMENT):
        lists = {name: remove_id(unit_id, waiting.patch[name]) for name in UNIT_ID_FIELDS if name in waiting.patch}
        if any(lists[name] != waiting.patch[name] for name in lists):
            waiting.patch |= lists
            with allow_guarded_writes():
                waiting.save()


def find_segments_listing(unit_id: str) -> list[Segment]:
    """Return the segments that list the unit. There are few, so that they are looked through here."""
    return [row for row in Segment.objects.all() if any(unit_id in getattr(row, name) for name in UNIT_ID_FIELDS)]


def remove_id(unit_id: str, ids: list[str]) -> list[str]:
    """Return *ids* without this one."""
    return [one for one in ids if one != unit_id]
