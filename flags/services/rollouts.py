"""
Rollout plans: a flag rises phase by phase while its guardrails hold, and is turned off when a guardrail is breached.

A phase ends when its time is over and every guardrail holds with enough samples. A paused plan leaves the flag at its
percentage; resuming restarts the phase's time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.utils.translation import gettext, override

from flags import gauges
from flags.documents import format_timestamp, guardrail_variants, plan_document
from flags.models import ChangeSubject, FlagChange, Guardrail, PendingChange, RolloutPlan
from flags.services.change import apply_change
from flags.services.errors import RefusedError, UnknownKeyError
from flags.services.kill import kill_flag
from flags.services.record import Actor, flag_transaction

log = logging.getLogger(__name__)

State = RolloutPlan.State
ACTIVE_STATES = (State.RUNNING, State.PAUSED)


@dataclass(frozen=True, slots=True)
class GuardrailCheck:
    """The result of checking one guardrail, saved as evidence with the plan's change."""

    guardrail: str
    gauge: str
    variant: str
    bound: str
    threshold: float
    value: float | None
    samples: int
    verdict: str
    """holds, breached, too_few_samples, or unreadable if the gauge failed."""
    since: str
    until: str
    on_breach: str


@flag_transaction
def copy_template(*, template: str, flag: str, actor: Actor, why: str, now: datetime) -> RolloutPlan:
    """Return a new draft plan for *flag* with the phases and guardrails of the template."""
    row = find_plan(template)
    number = RolloutPlan.objects.filter(flag__key=flag).count() + 1
    key = f"{flag}-{number}"[-64:]
    names = guardrail_variants(flag)
    document = plan_document(row)
    # A guardrail of a variant that this flag does not have would never have a sample: it watches all requests instead.
    for guardrail in document["guardrails"]:
        guardrail["variant"] = guardrail["variant"] if guardrail["variant"] in names else ""
    patch = document | {"key": key, "flag": flag, "state": State.DRAFT, "phase": 0, "phase_started_at": None}
    apply_change(subject=ChangeSubject.PLAN, key=key, patch=patch, actor=actor, why=why, now=now, create=True)
    return find_plan(key)


@flag_transaction
def start(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Start the first phase; return a pending change if the flag needs approval."""
    plan = find_plan(key)
    if plan.flag is None:
        raise RefusedError(gettext("{key} is a template. Copy it for a flag.").format(key=key))
    if plan.state in ACTIVE_STATES:
        raise RefusedError(gettext("{key} is already {state}.").format(key=key, state=state_label(plan.state)))
    if active := RolloutPlan.objects.filter(flag=plan.flag, state__in=ACTIVE_STATES).first():
        text = gettext("{flag} is already on the plan {plan}. Stop that plan first.")
        raise RefusedError(text.format(flag=plan.flag, plan=active))
    return transition_plan(
        plan, actor, why, now, "started", state=State.RUNNING, phase=1, phase_started_at=format_timestamp(now)
    )


@flag_transaction
def pause(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Leave the flag at its percentage until the plan is resumed."""
    return transition_plan(require_plan_state(key, State.RUNNING), actor, why, now, "paused", state=State.PAUSED)


@flag_transaction
def resume(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Continue in the same phase, whose time restarts. A flag that was turned off is turned on again."""
    plan = require_plan_state(key, State.PAUSED)
    return transition_plan(
        plan, actor, why, now, "resumed", state=State.RUNNING, phase_started_at=format_timestamp(now)
    )


@flag_transaction
def step_back(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Return to the previous phase, whose time restarts."""
    plan = require_plan_state(key, *ACTIVE_STATES)
    if plan.phase <= 1:
        text = gettext("{key} is in its first phase. Stop the plan, or turn the flag off.")
        raise RefusedError(text.format(key=key))
    return transition_plan(
        plan, actor, why, now, "stepped back", phase=plan.phase - 1, phase_started_at=format_timestamp(now)
    )


@flag_transaction
def stop(*, key: str, actor: Actor, why: str, now: datetime) -> RolloutPlan | PendingChange:
    """Stop the plan; the flag stays at its percentage."""
    return transition_plan(require_plan_state(key, *ACTIVE_STATES), actor, why, now, "stopped", state=State.FINISHED)


def advance(*, now: datetime) -> list[FlagChange]:
    """Check every running plan and return the changes made: next phases, finished plans, pauses, roll-backs."""
    changes = []
    for key in RolloutPlan.objects.filter(state=State.RUNNING).values_list("key", flat=True):
        try:
            if record := advance_plan(key, now):
                changes.append(record)
        except DatabaseError:
            log.exception("rollout_not_advanced", extra={"plan": key})
    return changes


@flag_transaction
def advance_plan(key: str, now: datetime) -> FlagChange | None:
    """Check one plan. The lock of the flags keeps concurrent runs from advancing it twice."""
    plan = RolloutPlan.objects.select_related("flag").get(key=key)
    if plan.state != State.RUNNING or plan.flag is None or plan.phase_started_at is None:
        return None
    checks = [check_guardrail(row, plan.phase_started_at, now) for row in plan.guardrails.all()]
    if breached := [check for check in checks if check.verdict == "breached"]:
        return handle_breach(plan, breached, checks, now)
    phases = list(plan.phases.all())
    is_over = now >= plan.phase_started_at + timedelta(hours=phases[plan.phase - 1].hours)
    if not is_over or any(check.verdict != "holds" for check in checks):
        return None
    actor = Actor(system=f"rollout:{key}")
    if plan.phase == len(phases):
        why = f"The last phase, {phases[-1].percentage:g} %, is over."
        transition_plan(plan, actor, why, now, "finished", checks, state=State.FINISHED)
    else:
        number = plan.phase + 1
        why = f"Phase {plan.phase} is over and the guardrails hold: raised to {phases[number - 1].percentage:g} %."
        transition_plan(plan, actor, why, now, "advanced", checks, phase=number, phase_started_at=format_timestamp(now))
    return FlagChange.objects.filter(subject=ChangeSubject.PLAN, key=key).first()


def check_guardrail(row: Guardrail, phase_started_at: datetime, now: datetime) -> GuardrailCheck:
    """Check one guardrail over its window, which never starts before the phase."""
    since = max(phase_started_at, now - timedelta(minutes=row.window_minutes))
    value: float | None = None
    samples, verdict = 0, "unreadable"
    try:
        metric = gauges.read_gauge(row.gauge, row.variant, since, now)
        value, samples = metric.value, metric.samples
        is_within = value <= row.threshold if row.bound == Guardrail.Bound.AT_MOST else value >= row.threshold
        verdict = "too_few_samples" if samples < row.min_samples else "holds" if is_within else "breached"
    except (KeyError, DatabaseError):
        log.exception("guardrail_gauge_failed", extra={"metric": row.gauge})
    with override(settings.LANGUAGE_CODE):  # what is stored is in one language
        text = str(row)
    return GuardrailCheck(
        guardrail=text,
        gauge=row.gauge,
        variant=row.variant,
        bound=row.bound,
        threshold=row.threshold,
        value=value,
        samples=samples,
        verdict=verdict,
        since=format_timestamp(since) or "",
        until=format_timestamp(now) or "",
        on_breach=row.on_breach,
    )


def handle_breach(
    plan: RolloutPlan, breached: Sequence[GuardrailCheck], checks: Sequence[GuardrailCheck], now: datetime
) -> FlagChange | None:
    """Roll the flag back or pause the plan, as the breached guardrails require; a roll-back takes precedence."""
    actor = Actor(system=f"rollout:{plan.key}")
    first = next((check for check in breached if check.on_breach == Guardrail.OnBreach.ROLL_BACK), breached[0])
    why = f"Guardrail breached: {first.guardrail}; the value is {first.value:g} over {first.samples} samples."
    if first.on_breach == Guardrail.OnBreach.PAUSE:
        transition_plan(plan, actor, why, now, "paused", checks, state=State.PAUSED)
    else:
        transition_plan(plan, actor, why, now, "rolled back", checks, state=State.ROLLED_BACK)
        assert plan.flag is not None
        kill_flag(key=plan.flag.key, actor=actor, why=why, now=now)
    log.warning("guardrail_breached", extra={"plan": plan.key, "on_breach": first.on_breach})
    return FlagChange.objects.filter(subject=ChangeSubject.PLAN, key=plan.key).first()


@flag_transaction
def transition_plan(
    plan: RolloutPlan,
    actor: Actor,
    why: str,
    now: datetime,
    action: str,
    checks: Sequence[GuardrailCheck] = (),
    **patch: Any,
) -> RolloutPlan | PendingChange:
    """Save the plan's new state, and set the flag to the percentage of its phase."""
    outcome = apply_change(
        subject=ChangeSubject.PLAN,
        key=plan.key,
        patch=patch,
        actor=actor,
        why=why,
        now=now,
        action=action,
        evidence=[asdict(check) for check in checks],
    )
    if isinstance(outcome, PendingChange):
        return outcome
    plan = find_plan(plan.key)
    apply_phase_percentage(plan, actor=actor, why=why, now=now)
    return plan


def apply_phase_percentage(
    plan: RolloutPlan, *, actor: Actor, why: str, now: datetime, approved_by: User | None = None
) -> None:
    """Turn the flag of a running plan on, at the percentage of the current phase."""
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
    """Return the plan if it is in one of *states*. Raises `RefusedError` otherwise."""
    plan = find_plan(key)
    if plan.state not in states:
        text = gettext("{key} is {state}. This step needs a plan that is {states}.")
        needed = gettext(" or ").join(map(state_label, states))
        raise RefusedError(text.format(key=key, state=state_label(plan.state), states=needed))
    return plan


def state_label(state: str) -> str:
    """Return the name of a state in the language of the page."""
    return gettext(RolloutPlan.State(state).label)
