"""Turning a flag off in an emergency: at once, for everybody, whoever would have had to approve."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from flags.models import ChangeSubject, FlagChange, RolloutPlan
from flags.services.change import Actor, apply_change


def kill_flag(*, key: str, actor: Actor, why: str, now: datetime) -> FlagChange | None:
    """
    Turn the flag off, and pause the plan that would turn it up again; None if it is off already.

    Every process obeys within `REFRESH_SECONDS`, and what was made by the flag is forgotten.
    """
    with transaction.atomic():
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
    assert record is None or isinstance(record, FlagChange), "a kill waits for nobody"
    return record
