"""
The guarantees of the statistics over many simulated experiments: false positive rate and coverage of intervals.

The nightly run is the same with more experiments.
"""

import numpy as np
import pytest

from flags.analysis import statistics as s
from flags.analysis.moments import Moments, compute_moments, compute_ratio_moments

ANALYSES = 20
UNITS = 4000
RUNS = [400, pytest.param(4000, marks=pytest.mark.nightly)]


def interim_differences(control, treatment):
    """Yield the difference at each of 20 evenly spaced interim analyses of growing data."""
    for n in np.linspace(UNITS / ANALYSES, UNITS, ANALYSES).astype(int):
        yield s.mean_difference(compute_moments(control[:n]), compute_moments(treatment[:n]))


def sample_outcomes(kind, rng, lift=0.0):
    """Return the outcomes of one arm: a rate of 10 %, or skewed counts like those of interactions."""
    if kind == "rate":
        return (rng.random(UNITS) < 0.1 * (1 + lift)).astype(float)
    return rng.poisson(rng.gamma(0.7, 3.0, UNITS) * (1 + lift)).astype(float)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("kind", ["rate", "counts"])
def test_repeated_analyses_of_equal_variants_keep_the_false_positive_rate(kind, runs):
    """A/A: over all 20 analyses at most 5 % false positives. The fixed interval exceeds 10 % on the same data."""
    rng = np.random.default_rng(11)
    anytime = fixed = 0
    for _ in range(runs):
        differences = list(interim_differences(sample_outcomes(kind, rng), sample_outcomes(kind, rng)))
        anytime += any(s.anytime_interval(difference).p <= s.ALPHA for difference in differences)
        fixed += any(abs(row.estimate) > 1.96 * row.standard_error for row in differences)
    assert anytime / runs <= 0.05
    assert fixed / runs > 0.10


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("lift", [0.05, 0.3])
def test_intervals_cover_the_true_value(lift, runs):
    """A/B: the fixed and anytime intervals contain the true difference and lift in at least 93 of 100 experiments."""
    rng = np.random.default_rng(12)
    covered = np.zeros(4)
    for _ in range(runs):
        a, b = compute_moments(sample_outcomes("counts", rng)), compute_moments(sample_outcomes("counts", rng, lift))
        difference = s.mean_difference(a, b)
        for i, interval in enumerate((s.fixed_interval(difference), s.anytime_interval(difference))):
            relative = s.relative_lift(a, b, interval)
            covered[2 * i] += interval.low <= 2.1 * lift <= interval.high
            covered[2 * i + 1] += relative[1] <= lift <= relative[2]
    assert (covered / runs >= 0.93).all(), covered / runs


@pytest.mark.parametrize("runs", RUNS)
def test_cuped_intervals_cover_the_true_value_and_are_shorter(runs):
    """Prior values explain much of the variance; regressing them out adds no bias."""
    rng = np.random.default_rng(13)
    covered, length_ratios = 0, []
    for _ in range(runs):
        activity = rng.gamma(1.0, 3.0, (2, 2000))
        prior, now = rng.poisson(activity), rng.poisson(np.add(activity, [[0.0], [0.25]]))
        arms = [compute_moments(y.astype(float), x.astype(float)) for y, x in zip(now, prior, strict=True)]
        raw, adjusted = (
            s.fixed_interval(s.mean_difference(*arms)),
            s.fixed_interval(s.mean_difference(*s.adjust_with_cuped(*arms))),
        )
        covered += adjusted.low <= 0.25 <= adjusted.high
        length_ratios.append((adjusted.high - adjusted.low) / (raw.high - raw.low))
    assert covered / runs >= 0.93
    assert np.median(length_ratios) < 0.9


@pytest.mark.parametrize("runs", RUNS)
def test_the_interval_of_a_ratio_covers_the_true_value(runs):
    """Clicks per view: the events of one unit are correlated."""
    rng = np.random.default_rng(14)
    covered = 0
    for _ in range(runs):
        arms = []
        for extra in (0.0, 0.02):
            views = rng.negative_binomial(1, 0.1, 1500) + 1
            click_rate = rng.beta(2, 8, 1500) + extra
            arms.append(
                compute_ratio_moments(rng.binomial(views, np.minimum(click_rate, 1)).astype(float), views.astype(float))
            )
        interval = s.fixed_interval(s.mean_difference(*arms))
        covered += interval.low <= 0.02 <= interval.high
    assert covered / runs >= 0.93


@pytest.mark.parametrize("runs", RUNS)
def test_weights_remove_the_bias_of_a_bandit(runs):
    """Propensities and the metric both change over time; weights of 1 / propensity give an unbiased estimate."""
    rng = np.random.default_rng(15)
    covered = 0
    for _ in range(runs):
        later = np.repeat([0.0, 1.0], 1500)
        chance = np.where(later, 0.8, 0.3)
        treated = rng.random(3000) < chance
        y = 2 * later + 0.5 * treated + rng.normal(0, 1, 3000)
        arms: list[Moments] = [
            compute_moments(y[mask], weights=1 / np.where(treated, chance, 1 - chance)[mask])
            for mask in (~treated, treated)
        ]
        interval = s.fixed_interval(s.mean_difference(*arms))
        covered += interval.low <= 0.5 <= interval.high
    assert covered / runs >= 0.93
