"""
What the statistics promise, held over many simulated experiments: few false alarms at any look, and honest intervals.

The nightly form is the same with more experiments.
"""

import numpy as np
import pytest

from flags.analysis import statistics as s
from flags.analysis.moments import Moments, compute_moments, compute_ratio_moments

ANALYSES = 20
UNITS = 4000
RUNS = [400, pytest.param(4000, marks=pytest.mark.nightly)]


def interim_differences(control, treatment):
    """Yield the difference at each of 20 evenly spaced looks at growing data."""
    for n in np.linspace(UNITS / ANALYSES, UNITS, ANALYSES).astype(int):
        yield s.mean_difference(compute_moments(control[:n]), compute_moments(treatment[:n]))


def sample_outcomes(kind, rng, lift=0.0):
    """Return one arm of a kind of metric: a rate of 10 %, or skewed counts such as interactions are."""
    if kind == "rate":
        return (rng.random(UNITS) < 0.1 * (1 + lift)).astype(float)
    return rng.poisson(rng.gamma(0.7, 3.0, UNITS) * (1 + lift)).astype(float)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("kind", ["rate", "counts"])
def test_peeking_at_nothing_is_safe(kind, runs):
    """A/A: at any of 20 looks together at most 5 % false alarms; the fixed test cries wolf in the same data."""
    rng = np.random.default_rng(11)
    anytime = fixed = 0
    for _ in range(runs):
        found = list(interim_differences(sample_outcomes(kind, rng), sample_outcomes(kind, rng)))
        anytime += any(s.anytime_interval(one).p <= s.ALPHA for one in found)
        fixed += any(abs(one.estimate) > 1.96 * one.standard_error for one in found)
    assert anytime / runs <= 0.05
    assert fixed / runs > 0.10


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("lift", [0.05, 0.3])
def test_intervals_cover_the_truth(lift, runs):
    """A/B: the difference and the lift lie in their fixed and anytime intervals in at least 93 of 100 experiments."""
    rng = np.random.default_rng(12)
    held = np.zeros(4)
    for _ in range(runs):
        a, b = compute_moments(sample_outcomes("counts", rng)), compute_moments(sample_outcomes("counts", rng, lift))
        found = s.mean_difference(a, b)
        for i, interval in enumerate((s.fixed_interval(found), s.anytime_interval(found))):
            relative = s.relative_lift(a, b, interval)
            held[2 * i] += interval.low <= 2.1 * lift <= interval.high
            held[2 * i + 1] += relative[1] <= lift <= relative[2]
    assert (held / runs >= 0.93).all(), held / runs


@pytest.mark.parametrize("runs", RUNS)
def test_cuped_covers_the_truth_with_shorter_intervals(runs):
    """What units did before explains much of what they do now; taking it out biases nothing."""
    rng = np.random.default_rng(13)
    held, shorter = 0, []
    for _ in range(runs):
        habits = rng.gamma(1.0, 3.0, (2, 2000))
        prior, now = rng.poisson(habits), rng.poisson(np.add(habits, [[0.0], [0.25]]))
        arms = [compute_moments(y.astype(float), x.astype(float)) for y, x in zip(now, prior, strict=True)]
        raw, found = (
            s.fixed_interval(s.mean_difference(*arms)),
            s.fixed_interval(s.mean_difference(*s.adjust_with_cuped(*arms))),
        )
        held += found.low <= 0.25 <= found.high
        shorter.append((found.high - found.low) / (raw.high - raw.low))
    assert held / runs >= 0.93
    assert np.median(shorter) < 0.9


@pytest.mark.parametrize("runs", RUNS)
def test_a_ratio_covers_the_truth(runs):
    """Clicks a view, where heavy readers click less often: events of one unit hang together."""
    rng = np.random.default_rng(14)
    held = 0
    for _ in range(runs):
        arms = []
        for extra in (0.0, 0.02):
            views = rng.negative_binomial(1, 0.1, 1500) + 1
            appetite = rng.beta(2, 8, 1500) + extra
            arms.append(
                compute_ratio_moments(rng.binomial(views, np.minimum(appetite, 1)).astype(float), views.astype(float))
            )
        found = s.fixed_interval(s.mean_difference(*arms))
        held += found.low <= 0.02 <= found.high
    assert held / runs >= 0.93


@pytest.mark.parametrize("runs", RUNS)
def test_weights_undo_a_bandits_preference(runs):
    """Propensities that move with time, and a metric that does too: 1 / propensity gives the truth back."""
    rng = np.random.default_rng(15)
    held = 0
    for _ in range(runs):
        later = np.repeat([0.0, 1.0], 1500)
        chance = np.where(later, 0.8, 0.3)
        treated = rng.random(3000) < chance
        y = 2 * later + 0.5 * treated + rng.normal(0, 1, 3000)
        arms: list[Moments] = [
            compute_moments(y[who], weights=1 / np.where(treated, chance, 1 - chance)[who])
            for who in (~treated, treated)
        ]
        found = s.fixed_interval(s.mean_difference(*arms))
        held += found.low <= 0.5 <= found.high
    assert held / runs >= 0.93
