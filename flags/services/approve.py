"""The second person: approves what another asked for, or rejects it."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from flags.models import ChangeSubject, FlagChange, PendingChange, RolloutPlan
from flags.models.guarded import allow_guarded_writes
from flags.services import rollouts
from flags.services.change import Actor, apply_change
from flags.services.errors import ForbiddenError, RefusedError, UnknownKeyError

RELEASE_PERMISSION = "flags.release_flag"


def approve(*, pending_id: int, user: User, now: datetime) -> FlagChange | None:
    """Make the change that was asked for. Raises an error of `flags.services.errors` if *user* may not, or too late."""
    with transaction.atomic():
        pending = lock_pending_change(pending_id, user)
        if pending.flag.version != pending.flag_version:
            raise RefusedError(f"{pending.flag.key} was changed since this was asked for. Reject it, and ask again.")
        actor = Actor(pending.requested_by) if pending.requested_by else Actor(system=pending.requested_by_system)
        record = apply_change(
            subject=pending.subject,
            key=pending.key,
            patch=pending.patch,
            actor=actor,
            why=pending.why,
            now=now,
            action=pending.action,
            approved_by=user,
        )
        save_decision(pending, PendingChange.State.APPROVED, user, now)
        if pending.subject == ChangeSubject.PLAN:
            plan = RolloutPlan.objects.get(key=pending.key)
            rollouts.apply_phase_percentage(plan, actor=actor, why=pending.why, now=now, approved_by=user)
    assert record is None or isinstance(record, FlagChange), "an approved change does not wait again"
    return record


def reject(*, pending_id: int, user: User, now: datetime) -> PendingChange:
    """Leave things as they are. Who asked may take it back."""
    with transaction.atomic():
        pending = lock_pending_change(pending_id, user, allow_own=True)
        save_decision(pending, PendingChange.State.REJECTED, user, now)
    return pending


def lock_pending_change(pending_id: int, user: User, *, allow_own: bool = False) -> PendingChange:
    """Return the change that waits, or refuse."""
    pending = PendingChange.objects.select_for_update().filter(pk=pending_id).first()
    if pending is None:
        raise UnknownKeyError("waiting change", str(pending_id))
    if pending.state != PendingChange.State.PENDING:
        raise RefusedError(f"This change is {pending.state} already.")
    is_own = pending.requested_by_id == user.pk
    if is_own and not allow_own:
        raise ForbiddenError("A second person approves: you asked for this change yourself.")
    if not user.has_perm(RELEASE_PERMISSION) and not is_own:
        raise ForbiddenError("Only a flag releaser decides on changes.")
    return pending


def save_decision(pending: PendingChange, state: str, user: User, now: datetime) -> None:
    """Write the decision."""
    pending.state, pending.decided_by, pending.decided_at = state, user, now
    with allow_guarded_writes():
        pending.save()
