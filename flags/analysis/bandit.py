"""
Weights that follow what is learned: Thompson sampling over variants, once a night.

Each variant's share is the chance that it is the best one (Thompson 1933; by draws from the normal posterior of its
mean), never below the experiment's floor. The shares are the propensities that exposures keep, so that what units did
can be weighted by one over them, and estimates stay without bias though the shares changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from flags.analysis import interim_analysis
from flags.analysis.moments import Moments
from flags.models import Experiment, ExperimentPhase
from flags.services import experiments
from flags.services.change import Actor

DRAWS = 20_000
MIN_UNITS = 100
"""Units that each variant has before weights move. Changes the answer."""
MIN_SHARE_CHANGE = 0.02
"""A change of shares that is worth a new phase. Changes the answer."""
BANDIT_ACTOR = Actor(system="bandit")


def update_weights(*, key: str, now: datetime) -> dict[str, float] | None:
    """Begin a new phase by what is known now, and return its shares; None if too little is, or nothing moves."""
    experiment = Experiment.objects.select_related("goal").get(key=key)
    if not experiment.is_bandit or experiment.state != Experiment.State.RUNNING or experiment.goal is None:
        return None
    phases = list(experiment.phases.order_by("number"))
    units = interim_analysis.load_exposed_units(phases, weighted=True)
    values = interim_analysis.load_unit_values(experiment.goal, units, now)
    present = {arm["key"]: float(arm["share"]) for arm in phases[-1].variants}
    arms = {arm: interim_analysis.masked_moments(values, units, units.variants == arm) for arm in present}
    if min(arm.n for arm in arms.values()) < MIN_UNITS:
        return None
    wanted = thompson_shares(
        arms,
        floor=experiment.bandit_floor,
        higher_is_better=experiment.goal.higher_is_better,
        seed=draw_seed(phases[-1]),
    )
    if max(abs(wanted[arm] - present[arm]) for arm in wanted) < MIN_SHARE_CHANGE:
        return None
    chances = ", ".join(f"{arm} {share:.0%}" for arm, share in wanted.items())
    why = f"What {len(units)} units did: {chances}."
    experiments.begin_phase(
        key=key, weights={a: 100 * share for a, share in wanted.items()}, actor=BANDIT_ACTOR, why=why, now=now
    )
    return wanted


def thompson_shares(
    arms: Mapping[str, Moments], *, floor: float, higher_is_better: bool = True, seed: int = 0
) -> dict[str, float]:
    """Return each variant's chance to be the best, none below *floor*; together 1."""
    generator = np.random.default_rng(seed)
    means = np.array([arm.mean for arm in arms.values()])
    errors = np.sqrt([arm.squared_standard_error for arm in arms.values()])
    drawn = generator.normal(means, errors, (DRAWS, len(arms)))
    best = drawn.argmax(axis=1) if higher_is_better else drawn.argmin(axis=1)
    chances = np.bincount(best, minlength=len(arms)) / DRAWS
    mixed = floor + (1 - floor * len(arms)) * chances
    return dict(zip(arms, mixed.tolist(), strict=True))


def draw_seed(phase: ExperimentPhase) -> int:
    """Return the draws' seed: the same look gives the same weights."""
    return phase.pk
