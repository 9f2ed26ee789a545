"""Approval by a second person: approve or reject a pending change."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.utils.translation import gettext

from flags.models import ChangeSubject, FlagChange, PendingChange, RolloutPlan
from flags.models.guarded import allow_guarded_writes
from flags.services import rollouts
from flags.services.change import apply_change
from flags.services.errors import ForbiddenError, RefusedError, UnknownKeyError
from flags.services.record import Actor, flag_transaction

RELEASE_PERMISSION = "flags.release_flag"


@flag_transaction
def approve(*, pending_id: int, user: User, now: datetime) -> FlagChange | None:
    """
    Apply the pending change.

    Raises an error of `flags.services.errors` if *user* may not approve it, it is decided already, or the flag changed
    since the request.
    """
    pending = require_pending_change(pending_id, user)
    if pending.flag.version != pending.flag_version:
        text = gettext("{key} changed since this request. Reject it, and request the change again.")
        raise RefusedError(text.format(key=pending.flag.key))
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
    assert record is None or isinstance(record, FlagChange), "an approved change is never pending again"
    return record


@flag_transaction
def reject(*, pending_id: int, user: User, now: datetime) -> PendingChange:
    """Reject the pending change. The person who requested it may also withdraw it this way."""
    pending = require_pending_change(pending_id, user, allow_own=True)
    save_decision(pending, PendingChange.State.REJECTED, user, now)
    return pending


def require_pending_change(pending_id: int, user: User, *, allow_own: bool = False) -> PendingChange:
    """Return the pending change. Raises an error if it is decided already or *user* may not decide on it."""
    pending = PendingChange.objects.filter(pk=pending_id).first()
    if pending is None:
        raise UnknownKeyError("pending change", str(pending_id))
    if pending.state != PendingChange.State.PENDING:
        raise RefusedError(
            gettext("This change is already {state}.").format(
                state=gettext(PendingChange.State(pending.state).label).lower()
            )
        )
    is_own = pending.requested_by_id == user.pk
    if is_own and not allow_own:
        raise ForbiddenError(gettext("You requested this change yourself: a second person must approve it."))
    if not user.has_perm(RELEASE_PERMISSION) and not is_own:
        raise ForbiddenError(gettext("Only a flag releaser can approve or reject changes."))
    return pending


def save_decision(pending: PendingChange, state: str, user: User, now: datetime) -> None:
    """Save the decision."""
    pending.state, pending.decided_by, pending.decided_at = state, user, now
    with allow_guarded_writes():
        pending.save(update_fields=["state", "decided_by", "decided_at"])
