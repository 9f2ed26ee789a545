"""The second person: approves what another asked for, or rejects it."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from flags.models import FlagChange, PendingChange, RolloutPlan, Subject
from flags.models.guarded import writing
from flags.services import rollouts
from flags.services.change import Actor, change
from flags.services.errors import ForbiddenError, RefusedError, UnknownKeyError

RELEASE = "flags.release_flag"


def approve(*, pending_id: int, user: User, now: datetime) -> FlagChange | None:
    """Make the change that was asked for. Raises an error of `flags.services.errors` if *user* may not, or too late."""
    with transaction.atomic():
        pending = waiting(pending_id, user)
        if pending.flag.version != pending.version:
            raise RefusedError(f"{pending.flag.key} was changed since this was asked for. Reject it, and ask again.")
        actor = Actor(pending.asked_by) if pending.asked_by else Actor(system=pending.asked_by_system)
        record = change(
            subject=pending.subject,
            key=pending.key,
            patch=pending.patch,
            actor=actor,
            why=pending.why,
            now=now,
            action=pending.action,
            approved_by=user,
        )
        decide(pending, PendingChange.State.APPROVED, user, now)
        if pending.subject == Subject.PLAN:
            plan = RolloutPlan.objects.get(key=pending.key)
            rollouts.settle(plan, actor=actor, why=pending.why, now=now, approved_by=user)
    assert record is None or isinstance(record, FlagChange), "an approved change does not wait again"
    return record


def reject(*, pending_id: int, user: User, now: datetime) -> PendingChange:
    """Leave things as they are. Who asked may take it back."""
    with transaction.atomic():
        pending = waiting(pending_id, user, may_be_own=True)
        decide(pending, PendingChange.State.REJECTED, user, now)
    return pending


def waiting(pending_id: int, user: User, *, may_be_own: bool = False) -> PendingChange:
    """Return the change that waits, or refuse."""
    pending = PendingChange.objects.select_for_update().filter(pk=pending_id).first()
    if pending is None:
        raise UnknownKeyError("waiting change", str(pending_id))
    if pending.state != PendingChange.State.WAITING:
        raise RefusedError(f"This change is {pending.state} already.")
    is_own = pending.asked_by_id == user.pk
    if is_own and not may_be_own:
        raise ForbiddenError("A second person approves: you asked for this change yourself.")
    if not user.has_perm(RELEASE) and not is_own:
        raise ForbiddenError("Only a flag releaser decides on changes.")
    return pending


def decide(pending: PendingChange, state: str, user: User, now: datetime) -> None:
    """Write the decision."""
    pending.state, pending.decided_by, pending.decided_at = state, user, now
    with writing():
        pending.save()
