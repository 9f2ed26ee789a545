"""
Bandit weights: Thompson sampling over the variants, once a night.

Each variant's share is the probability that it is the best (Thompson 1933; from draws of the normal posterior of its
mean), mixed with the experiment's floor. The shares are the propensities stored with exposures. Weighting each unit by
1 / propensity keeps the estimates unbiased although the shares change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from flags.analysis import interim_analysis
from flags.analysis.moments import Moments
from flags.models import Experiment, ExperimentPhase
from flags.services import experiments
from flags.services.record import Actor

DRAWS = 20_000
MIN_UNITS = 100
"""Units that each variant needs before the weights change. Changes the answer."""
MIN_SHARE_CHANGE = 0.02
"""Smallest change of a share that starts a new phase. Changes the answer."""
BANDIT_ACTOR = Actor(system="bandit")


def update_weights(*, key: str, now: datetime) -> dict[str, float] | None:
    """Start a phase with new weights and return its shares, or None with too few units or too small a change."""
    experiment = Experiment.objects.select_related("goal").get(key=key)
    if not experiment.is_bandit or experiment.state != Experiment.State.RUNNING or experiment.goal is None:
        return None
    phases = list(experiment.phases.order_by("number"))
    units = interim_analysis.load_exposed_units(phases, weighted=True)
    values = interim_analysis.load_unit_values(experiment.goal, units, now)
    current = {arm["key"]: float(arm["share"]) for arm in phases[-1].variants}
    arms = {arm: interim_analysis.masked_moments(values, units, units.variants == arm) for arm in current}
    if min(arm.n for arm in arms.values()) < MIN_UNITS:
        return None
    shares = thompson_shares(
        arms,
        floor=experiment.bandit_floor,
        higher_is_better=experiment.goal.higher_is_better,
        seed=draw_seed(phases[-1]),
    )
    if max(abs(shares[arm] - current[arm]) for arm in shares) < MIN_SHARE_CHANGE:
        return None
    listing = ", ".join(f"{arm} {share:.0%}" for arm, share in shares.items())
    why = f"Thompson sampling over {len(units)} units: {listing}."
    experiments.begin_phase(
        key=key, weights={a: 100 * share for a, share in shares.items()}, actor=BANDIT_ACTOR, why=why, now=now
    )
    return shares


def thompson_shares(
    arms: Mapping[str, Moments], *, floor: float, higher_is_better: bool = True, seed: int = 0
) -> dict[str, float]:
    """Return each variant's probability of being the best, none below *floor*; the shares sum to 1."""
    generator = np.random.default_rng(seed)
    means = np.array([arm.mean for arm in arms.values()])
    errors = np.sqrt([arm.squared_standard_error for arm in arms.values()])
    draws = generator.normal(means, errors, (DRAWS, len(arms)))
    best = draws.argmax(axis=1) if higher_is_better else draws.argmin(axis=1)
    chances = np.bincount(best, minlength=len(arms)) / DRAWS
    mixed = floor + (1 - floor * len(arms)) * chances
    return dict(zip(arms, mixed.tolist(), strict=True))


def draw_seed(phase: ExperimentPhase) -> int:
    """Return a seed for the draws that is fixed per phase: the same data give the same weights."""
    return phase.pk
