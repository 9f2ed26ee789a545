"""Turns a flag off in an emergency: at once, for all units, without approval."""

from __future__ import annotations

from datetime import datetime

from flags.models import ChangeSubject, FlagChange, RolloutPlan
from flags.services.change import Actor, apply_change, flag_transaction


@flag_transaction
def kill_flag(*, key: str, actor: Actor, why: str, now: datetime) -> FlagChange | None:
    """
    Turn the flag off, and pause the plan that would raise it again. Return None if the flag is off already.

    Every process applies it within `REFRESH_SECONDS`. The turn-off hooks purge what was cached under the flag.
    """
    record = apply_change(key=key, patch={"is_enabled": False}, actor=actor, why=why, now=now, action="killed")
    for plan in RolloutPlan.objects.filter(flag__key=key, state=RolloutPlan.State.RUNNING):
        apply_change(
            subject=ChangeSubject.PLAN,
            key=plan.key,
            patch={"state": RolloutPlan.State.PAUSED},
            actor=actor,
            why=why,
            now=now,
            action="killed",
        )
    assert record is None or isinstance(record, FlagChange), "a kill needs no approval"
    return record
