"""
The lifecycle of an experiment: draft, running, paused, finished with a decision. Each step is recorded as a change.

While an experiment runs, its assignment is frozen. More traffic extends each variant's bucket range from its own start,
so that no unit changes its variant (see `flags.rollout`). Other weights start a new phase with a new seed. In a sticky
experiment, units that were exposed before keep their variant in the new phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from flags.experiments.documents import ACTIVE_STATES, State, experiment_document
from flags.models import ChangeSubject, Experiment, PendingChange
from flags.services.change import apply_change
from flags.services.errors import InvalidChangeError, RefusedError, UnknownKeyError
from flags.services.record import Actor, flag_transaction

Outcome = Experiment | PendingChange


@flag_transaction
def start(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Start the first phase."""
    require_experiment_state(key, State.DRAFT)
    return apply_step(key, "started", actor, why, now, state=State.RUNNING, phase=1)


@flag_transaction
def pause(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Let all units follow the flag until the experiment is resumed. No unit is newly exposed; results are kept."""
    require_experiment_state(key, State.RUNNING)
    return apply_step(key, "paused", actor, why, now, state=State.PAUSED)


@flag_transaction
def resume(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Continue the same phase, with the same units in the same variants."""
    require_experiment_state(key, State.PAUSED)
    return apply_step(key, "resumed", actor, why, now, state=State.RUNNING)


@flag_transaction
def widen(*, key: str, traffic_percentage: float, actor: Actor, why: str, now: datetime) -> Outcome:
    """Raise the traffic percentage. Units in the experiment keep their variants."""
    row = require_experiment_state(key, *ACTIVE_STATES)
    if traffic_percentage <= row.traffic_percentage:
        text = gettext(
            "{key} already has {share} % of the traffic, and less would remove units. Give "
            "a higher percentage, or pause the experiment."
        )
        raise RefusedError(text.format(key=key, share=f"{row.traffic_percentage:g}"))
    return apply_step(key, "widened", actor, why, now, traffic_percentage=traffic_percentage)


@flag_transaction
def begin_phase(*, key: str, weights: Mapping[str, float], actor: Actor, why: str, now: datetime) -> Outcome:
    """Start a new phase with these weights (variant key to weight) and a new seed. Raises `InvalidChangeError`."""
    row = require_experiment_state(key, *ACTIVE_STATES)
    document = experiment_document(row)
    keys = {arm["key"] for arm in document["variants"]}
    if set(weights) != keys:
        text = gettext("Give a weight for each of {variants}.").format(variants=", ".join(sorted(keys)))
        raise InvalidChangeError({"weights": [text]})
    variants = [arm | {"weight": float(weights[arm["key"]])} for arm in document["variants"]]
    return apply_step(key, "phase_started", actor, why, now, variants=variants, phase=document["phase"] + 1)


@flag_transaction
def finish(*, key: str, decision: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """
    Finish the experiment with a decision: a variant's key, or empty for none. All units follow the flag from then on.

    The decision does not change the flag. Roll the winning variant out by a change of the flag: a rollout plan has
    guardrails.
    """
    require_experiment_state(key, *ACTIVE_STATES)
    return apply_step(key, "finished", actor, why, now, state=State.FINISHED, decision=decision, decision_reason=why)


STEPS = {"start": start, "pause": pause, "resume": resume, "widen": widen, "phase": begin_phase, "finish": finish}


def apply_step(key: str, action: str, actor: Actor, why: str, now: datetime, **patch: Any) -> Outcome:
    """Apply a step and return the experiment, or the pending change if the step needs approval."""
    outcome = apply_change(
        subject=ChangeSubject.EXPERIMENT, key=key, patch=patch, actor=actor, why=why, now=now, action=action
    )
    return outcome if isinstance(outcome, PendingChange) else find_experiment(key)


def find_experiment(key: str) -> Experiment:
    """Return the experiment, or raise `UnknownKeyError`."""
    row = Experiment.objects.filter(key=key).select_related("flag", "goal").first()
    if row is None:
        raise UnknownKeyError(ChangeSubject.EXPERIMENT.label, key)
    return row


def require_experiment_state(key: str, *states: State) -> Experiment:
    """Return the experiment if it is in one of these states, or raise `RefusedError`."""
    row = find_experiment(key)
    if row.state not in states:
        text = gettext("{key} is {state}. This step needs an experiment that is {states}.")
        needed = gettext(" or ").join(map(state_label, states))
        raise RefusedError(text.format(key=key, state=state_label(row.state), states=needed))
    return row


def state_label(state: str) -> str:
    """Return the name of a state in the language of the page, as it is written within a sentence."""
    return gettext(str(State(state).label).lower())
