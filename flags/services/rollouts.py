"""
Rollout plans: a flag goes up phase by phase while its guardrails hold, and comes down by itself when one is breached.

A phase is over when its time is over and every guardrail holds with enough samples. Pausing leaves the flag where it
is; resuming begins the phase's time anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError, transaction

from flags import gauges
from flags.documents import format_timestamp, plan_document
from flags.models import ChangeSubject, FlagChange, Guardrail, PendingChange, RolloutPlan
from flags.services.change import Actor, apply_change
from flags.services.errors import RefusedError, UnknownKeyError
from flags.services.kill import kill_flag

log = logging.getLogger(__name__)

State = RolloutPlan.State
ACTIVE_STATES = (State.RUNNING, State.PAUSED)


@dataclass(frozen=True, slots=True)
class GuardrailCheck:
    """A guardrail as it was read: what a decision is kept with."""

    guardrail: str
    value: float | None
    samples: int
    verdict: str
    """holds, breached, few (too few samples to say), unreadable."""
    since: str
    until: str
    on_breach: str


def copy_template(*, template: str, flag: str, actor: Actor, why: str, now: datetime) -> RolloutPlan:
    """Return a new plan for *flag*, a draft, with the phases and guardrails of the template."""
    row = find_plan(template)
    number = RolloutPlan.objects.filter(flag__key=flag).count() + 1
    key = f"{flag}-{number}"[-64:]
    patch = plan_document(row) | {"key": key, "flag": flag, "state": State.DRAFT, "phase": 0, "phase_since": None}
    apply_change(subject=ChangeSubject.PLAN, key=key, patch=patch, actor=actor, why=why, now=now, create=True)
    return find_plan(key)


def start(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Enter the first phase; or wait for approval, if the flag needs it."""
    plan = find_plan(key)
    if plan.flag is None:
        raise RefusedError(f"{key} is a template: copy it for a flag.")
    if plan.state in ACTIVE_STATES:
        raise RefusedError(f"{key} is {plan.get_state_display()} already.")
    if other := RolloutPlan.objects.filter(flag=plan.flag, state__in=ACTIVE_STATES).first():
        raise RefusedError(f"{plan.flag} is on the plan {other} already: stop that first.")
    return transition_plan(
        plan, actor, why, now, "started", state=State.RUNNING, phase=1, phase_since=format_timestamp(now)
    )


def pause(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Leave the flag at its percentage until the plan is resumed."""
    return transition_plan(require_plan_state(key, State.RUNNING), actor, why, now, "paused", state=State.PAUSED)


def resume(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Go on in the same phase, whose time begins anew; a flag that was turned off is on again."""
    plan = require_plan_state(key, State.PAUSED)
    return transition_plan(plan, actor, why, now, "resumed", state=State.RUNNING, phase_since=format_timestamp(now))


def step_back(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Go back to the phase before, whose time begins anew."""
    plan = require_plan_state(key, *ACTIVE_STATES)
    if plan.phase <= 1:
        raise RefusedError(f"{key} is in its first phase: stop it, or turn the flag off.")
    return transition_plan(
        plan, actor, why, now, "stepped back", phase=plan.phase - 1, phase_since=format_timestamp(now)
    )


def stop(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Give the plan up; the flag stays at its percentage."""
    return transition_plan(require_plan_state(key, *ACTIVE_STATES), actor, why, now, "stopped", state=State.FINISHED)


def advance(*, now: datetime) -> list[FlagChange]:
    """Look at every plan that runs, and return what was done: next phases, ends, pauses, roll-backs."""
    done = []
    for key in RolloutPlan.objects.filter(state=State.RUNNING).values_list("key", flat=True):
        try:
            if record := advance_plan(key, now):
                done.append(record)
        except DatabaseError:
            log.exception("rollout_not_advanced", extra={"plan": key})
    return done


def advance_plan(key: str, now: datetime) -> FlagChange | None:
    """Look at one plan. Several beats may do so at once: the row's lock lets one act."""
    with transaction.atomic():
        plan = RolloutPlan.objects.select_for_update(of=("self",)).select_related("flag").get(key=key)
        if plan.state != State.RUNNING or plan.flag is None or plan.phase_started_at is None:
            return None
        looks = [check_guardrail(row, plan.phase_started_at, now) for row in plan.guardrails.all()]
        if breached := [look for look in looks if look.verdict == "breached"]:
            return handle_breach(plan, breached, looks, now)
        phases = list(plan.phases.all())
        is_over = now >= plan.phase_started_at + timedelta(hours=phases[plan.phase - 1].hours)
        if not is_over or any(look.verdict != "holds" for look in looks):
            return None
        actor = Actor(system=f"rollout:{key}")
        if plan.phase == len(phases):
            why = f"Its last phase, {phases[-1].percentage:g} %, is over."
            transition_plan(plan, actor, why, now, "finished", looks, state=State.FINISHED)
        else:
            number = plan.phase + 1
            why = f"Phase {plan.phase} is over and its guardrails hold: {phases[number - 1].percentage:g} %."
            transition_plan(plan, actor, why, now, "advanced", looks, phase=number, phase_since=format_timestamp(now))
        return FlagChange.objects.filter(subject=ChangeSubject.PLAN, key=key).first()


def check_guardrail(row: Guardrail, phase_since: datetime, now: datetime) -> GuardrailCheck:
    """Read one guardrail over its window, as far as that lies in the phase."""
    since = max(phase_since, now - timedelta(minutes=row.window_minutes))
    value: float | None = None
    samples, verdict = 0, "unreadable"
    try:
        found = gauges.read_gauge(row.gauge, row.variant, since, now)
        value, samples = found.value, found.samples
        is_within = value <= row.threshold if row.bound == Guardrail.Bound.AT_MOST else value >= row.threshold
        verdict = "few" if samples < row.min_samples else "holds" if is_within else "breached"
    except (KeyError, DatabaseError):
        log.exception("guardrail_unreadable", extra={"metric": row.gauge})
    return GuardrailCheck(
        str(row), value, samples, verdict, format_timestamp(since) or "", format_timestamp(now) or "", row.on_breach
    )


def handle_breach(
    plan: RolloutPlan, breached: Sequence[GuardrailCheck], checks: Sequence[GuardrailCheck], now: datetime
) -> FlagChange | None:
    """Do what the breached guardrails ask for, the sharper of them first, and keep what was read."""
    actor = Actor(system=f"rollout:{plan.key}")
    first = next((look for look in breached if look.on_breach == Guardrail.OnBreach.ROLL_BACK), breached[0])
    why = f"Guardrail breached: {first.guardrail}, but it is {first.value:g} over {first.samples} samples."
    if first.on_breach == Guardrail.OnBreach.PAUSE:
        transition_plan(plan, actor, why, now, "paused", checks, state=State.PAUSED)
    else:
        transition_plan(plan, actor, why, now, "rolled back", checks, state=State.ROLLED_BACK)
        assert plan.flag is not None
        kill_flag(key=plan.flag.key, actor=actor, why=why, now=now)
    log.warning("rollout_breached", extra={"plan": plan.key, "on_breach": first.on_breach})
    return FlagChange.objects.filter(subject=ChangeSubject.PLAN, key=plan.key).first()


def transition_plan(
    plan: RolloutPlan,
    actor: Actor,
    why: str,
    now: datetime,
    action: str,
    checks: Sequence[GuardrailCheck] = (),
    **patch: Any,
) -> RolloutPlan | PendingChange:
    """Write the plan's new state, and bring the flag to where the plan is."""
    with transaction.atomic():
        done = apply_change(
            subject=ChangeSubject.PLAN,
            key=plan.key,
            patch=patch,
            actor=actor,
            why=why,
            now=now,
            action=action,
            evidence=[asdict(look) for look in checks],
        )
        if isinstance(done, PendingChange):
            return done
        plan = find_plan(plan.key)
        apply_phase_percentage(plan, actor=actor, why=why, now=now)
    return plan


def apply_phase_percentage(
    plan: RolloutPlan, *, actor: Actor, why: str, now: datetime, approved_by: User | None = None
) -> None:
    """Bring the flag of a plan that runs to the percentage of its phase, and on."""
    if plan.state != State.RUNNING or plan.flag is None:
        return
    percentage = list(plan.phases.all())[plan.phase - 1].percentage
    patch = {"is_enabled": True, "rollout_percentage": percentage}
    apply_change(
        key=plan.flag.key, patch=patch, actor=actor, why=why, now=now, action="rolled out", approved_by=approved_by
    )


def find_plan(key: str) -> RolloutPlan:
    """Return the plan, or raise `UnknownKeyError`."""
    plan = RolloutPlan.objects.select_related("flag").filter(key=key).first()
    if plan is None:
        raise UnknownKeyError(ChangeSubject.PLAN.label, key)
    return plan


def require_plan_state(key: str, *states: str) -> RolloutPlan:
    """Return the plan if it is in one of *states*, or refuse."""
    plan = find_plan(key)
    if plan.state not in states:
        raise RefusedError(f"{key} is {plan.get_state_display()}; this is for a plan that is {' or '.join(states)}.")
    return plan
