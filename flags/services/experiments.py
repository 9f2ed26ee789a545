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

from flags.experiments.documents import OPEN, State, experiment_document
from flags.models import Experiment, PendingChange, Subject
from flags.services.change import Actor, change
from flags.services.errors import RefusedError, UnknownKeyError

Outcome = Experiment | PendingChange


def start(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Begin the first phase."""
    expect(key, State.DRAFT)
    return step(key, "started", actor, why, now, state=State.RUNNING, phase=1)


def pause(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Let everybody follow the flag until it is resumed; nobody new is exposed, and what was learned stays."""
    expect(key, State.RUNNING)
    return step(key, "paused", actor, why, now, state=State.PAUSED)


def resume(*, key: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """Go on in the same phase: the same units in the same variants."""
    expect(key, State.PAUSED)
    return step(key, "resumed", actor, why, now, state=State.RUNNING)


def widen(*, key: str, traffic_percentage: float, actor: Actor, why: str, now: datetime) -> Outcome:
    """Take more units in; those who are in keep their variants."""
    row = expect(key, *OPEN)
    if traffic_percentage <= row.traffic_percentage:
        raise RefusedError(f"{key} has {row.traffic_percentage:g} % already: fewer would throw units out. Pause it.")
    return step(key, "widened", actor, why, now, traffic_percentage=traffic_percentage)


def rephase(*, key: str, weights: Mapping[str, float], actor: Actor, why: str, now: datetime) -> Outcome:
    """Begin a new phase with these weights, by the variants' keys, and a new seed."""
    row = expect(key, *OPEN)
    document = experiment_document(row)
    known = {arm["key"] for arm in document["variants"]}
    if set(weights) != known:
        raise ValidationError({"weights": [f"Give a weight for each of {', '.join(sorted(known))}."]})
    variants = [arm | {"weight": float(weights[arm["key"]])} for arm in document["variants"]]
    return step(key, "phased", actor, why, now, variants=variants, phase=document["phase"] + 1)


def finish(*, key: str, decision: str, actor: Actor, why: str, now: datetime) -> Outcome:
    """
    End it with a decision: a variant's key, or empty for none. Everybody follows the flag from then on.

    What was decided is for the flag to become, by a change of its own: a rollout has guardrails, and this has none.
    """
    expect(key, *OPEN)
    return step(key, "finished", actor, why, now, state=State.FINISHED, decision=decision, decided_because=why)


STEPS = {"start": start, "pause": pause, "resume": resume, "widen": widen, "phase": rephase, "finish": finish}


def step(key: str, action: str, actor: Actor, why: str, now: datetime, **patch: Any) -> Outcome:
    """Write a step, and return the experiment; or the change that waits for a second person."""
    done = change(subject=Subject.EXPERIMENT, key=key, patch=patch, actor=actor, why=why, now=now, action=action)
    return done if isinstance(done, PendingChange) else find(key)


def find(key: str) -> Experiment:
    """Return the experiment, or raise `UnknownKeyError`."""
    row = Experiment.objects.filter(key=key).select_related("flag", "goal").first()
    if row is None:
        raise UnknownKeyError(Subject.EXPERIMENT.label, key)
    return row


def expect(key: str, *states: State) -> Experiment:
    """Return the experiment if it is in one of these states, or raise `RefusedError`."""
    row = find(key)
    if row.state not in states:
        raise RefusedError(
            f"{key} is {row.get_state_display().lower()}; this is for one that is {' or '.join(states)}."
        )
    return row
