"""Restoring an earlier state of the change history."""

from __future__ import annotations

from datetime import datetime

from django.utils.translation import gettext

from flags.documents import UNIT_ID_FIELDS
from flags.models import ChangeSubject, FlagChange, PendingChange
from flags.services.change import apply_change
from flags.services.errors import RefusedError, UnknownKeyError
from flags.services.record import Actor, flag_transaction


@flag_transaction
def restore_change(*, change_id: int, actor: Actor, why: str, now: datetime) -> FlagChange | PendingChange | None:
    """
    Restore the state after the change *change_id*, as a new recorded change; return None if that is the current state.

    Raises `UnknownKeyError`, or `RefusedError` for a rollout plan.
    """
    record = FlagChange.objects.filter(pk=change_id).first()
    if record is None:
        raise UnknownKeyError("change", str(change_id))
    if record.subject == ChangeSubject.PLAN:
        raise RefusedError(gettext("A rollout plan cannot be restored. Step back, or start another plan."))
    # The history masks lists of ids, so these lists stay as they are.
    patch = {name: value for name, value in record.after.items() if name not in UNIT_ID_FIELDS}
    return apply_change(
        subject=record.subject, key=record.key, patch=patch, actor=actor, why=why, now=now, action="restored"
    )
