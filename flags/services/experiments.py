"""
The life of an experiment: draft, running, paused, finished with a decision. Each step is recorded as any change is.

Who gets which variant is frozen while it runs. More traffic widens each variant from its own start, so nobody changes
sides; other weights are a new phase with a new seed, which leaves those who were exposed where they are, if it is
sticky.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework.exceptions import ValidationError

from flags.experiments.documents import ACTIVE_STATES, State, experiment_document
from flags.models import ChangeSubject, Experiment, PendingChange
from flags.services.change import Actor, apply_change
from flags.services.errors import RefusedError, UnknownKeyError

Outcome = Experiment | PendingChange


def start(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Begin the first phase."""
    require_experiment_state(key, State.DRAFT)
    return apply_step(key, "started", actor, why, now, state=State.RUNNING, phase=1)


def pause(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Let everybody follow the flag until it is resumed; nobody new is exposed, and what was learned stays."""
    require_experiment_state(key, State.RUNNING)
    return apply_step(key, "paused", actor, why, now, state=State.PAUSED)


def resume(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Go on in the same phase: the same units in the same variants."""
    require_experiment_state(key, State.PAUSED)
    return apply_step(key, "resumed", actor, why, now, state=State.RUNNING)


def widen(*, key: str, traffic_percentage: float, actor: Actor, why: str, now: datetime) -> Outcome:
    """Take more units in; those who are in keep their variants."""
    row = require_experiment_state(key, *ACTIVE_STATES)
    if traffic_percentage <= row.traffic_percentage:
        raise RefusedError(f"{key} has {row.traffic_percentage:g} % already: fewer would throw units out. Pause it.")
    return apply_step(key, "widened", actor, why, now, traffic_percentage=traffic_percentage)


def begin_phase(*, key: str, weights: Mapping[str, float], actor: Actor, why: str, now: datetime) -> Outcome:
    """Begin a new phase with these weights, by the variants' keys, and a new seed."""
    row = require_experiment_state(key, *ACTIVE_STATES)
    document = experiment_document(row)
    known = {arm["key"] for arm in document["variants"]}
    if set(weights) != known:
        raise ValidationError({"weights": [f"Give a weight for each of {', '.join(sorted(known))}."]})
    variants = [arm | {"weight": float(weights[arm["key"]])} for arm in document["variants"]]
    return apply_step(key, "phased", actor, why, now, variants=variants, phase=document["phase"] + 1)


def finish(*, key: str, decision: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """
    End it with a decision: a variant's key, or empty for none. Everybody follows the flag from then on.

    What was decided is for the flag to become, by a change of its own: a rollout has guardrails, and this has none.
    """
    require_experiment_state(key, *ACTIVE_STATES)
    return apply_step(key, "finished", actor, why, now, state=State.FINISHED, decision=decision, decision_reason=why)


STEPS = {"start": start, "pause": pause, "resume": resume, "widen": widen, "phase": begin_phase, "finish": finish}


def apply_step(key: str, action: str, actor: Actor, why: str, now: datetime, **patch: Any) -> Outcome:
    """Write a step, and return the experiment; or the change that waits for a second person."""
    done = apply_change(
        subject=ChangeSubject.EXPERIMENT, key=key, patch=patch, actor=actor, why=why, now=now, action=action
    )
    return done if isinstance(done, PendingChange) else find_experiment(key)


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
        raise RefusedError(
            f"{key} is {row.get_state_display().lower()}; this is for one that is {' or '.join(states)}."
        )
    return row
