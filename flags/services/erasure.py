"""Erases a member from segments. The change history has no ids (see `documents.mask_unit_ids`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models

from flags.documents import UNIT_ID_FIELDS
from flags.models import ChangeSubject, PendingChange, Segment
from flags.models.guarded import allow_guarded_writes
from flags.services.change import apply_change
from flags.services.record import Actor, flag_transaction


@flag_transaction
def erase_unit_from_segments(*, unit_id: str, now: datetime) -> None:
    """Remove the unit from every list of the segments and of pending changes."""
    for segment in find_segments_listing(unit_id):
        lists = {name: remove_id(unit_id, getattr(segment, name)) for name in UNIT_ID_FIELDS}
        actor, why = Actor(system="erasure"), "A member was erased."
        apply_change(subject=ChangeSubject.SEGMENT, key=segment.key, patch=lists, actor=actor, why=why, now=now)
    for pending in PendingChange.objects.filter(subject=ChangeSubject.SEGMENT):
        lists = {name: remove_id(unit_id, pending.patch[name]) for name in UNIT_ID_FIELDS if name in pending.patch}
        if any(lists[name] != pending.patch[name] for name in lists):
            pending.patch |= lists
            with allow_guarded_writes():
                pending.save(update_fields=["patch"])


def update_row(model: type[models.Model], pk: object, values: dict[str, Any]) -> None:
    """
    Update columns of a row of any model, also of a guarded one. Adds nothing to the change history.

    The erasure uses it for texts that name an erased unit. They do not change what a flag returns.
    """
    with allow_guarded_writes():
        model._base_manager.filter(pk=pk).update(**values)


def find_segments_listing(unit_id: str) -> list[Segment]:
    """Return the segments that list the unit. There are few segments, so Python filters them."""
    return [row for row in Segment.objects.all() if any(unit_id in getattr(row, name) for name in UNIT_ID_FIELDS)]


def remove_id(unit_id: str, ids: list[str]) -> list[str]:
    """Return *ids* without *unit_id*."""
    return [id for id in ids if id != unit_id]
