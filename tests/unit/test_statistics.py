"""
The statistics of experiments against reference values.

Reference values of tea-tasting 1.14.0 and gbstats 0.8.0 were computed once on the data of `samples`. Tests name the
source.
"""

from math import inf, isclose

import numpy as np
import pytest
from scipy import stats

from flags.analysis import statistics as s
from flags.analysis.moments import Moments, compute_moments, compute_ratio_moments


@pytest.fixture(scope="module")
def samples():
    """Two variants with a true difference of 0.3, prior values of each unit, and a ratio of two counts."""
    rng = np.random.default_rng(7)
    n = 5000
    xa = rng.normal(10, 4, n)
    ya = xa + rng.normal(0, 3, n)
    xb = rng.normal(10, 4, n + 300)
    yb = xb + rng.normal(0.3, 3, n + 300)
    da = rng.poisson(5, n) + 1.0
    na = rng.binomial(da.astype(int), 0.2) * 1.0
    db = rng.poisson(5, n + 300) + 1.0
    nb = rng.binomial(db.astype(int), 0.22) * 1.0
    return {"control": (ya, xa, na, da), "treatment": (yb, xb, nb, db)}


def test_the_fixed_interval_agrees_with_welch(samples):
    """tea-tasting: 0.380166 [0.187974, 0.572358], p = 0.000106250; scipy agrees."""
    control, treatment = samples["control"][0], samples["treatment"][0]
    interval = s.fixed_interval(s.mean_difference(compute_moments(control), compute_moments(treatment)))
    assert interval.estimate == pytest.approx(0.3801662648824)
    assert (interval.low, interval.high) == pytest.approx((0.1879742697805, 0.5723582599843))
    assert interval.p == pytest.approx(stats.ttest_ind(treatment, control, equal_var=False).pvalue)


def test_cuped_agrees_with_the_reference(samples):
    """tea-tasting: 0.29774 [0.18298, 0.41250]; it pools theta differently, so four digits agree."""
    control, treatment = (compute_moments(*samples[arm][:2]) for arm in ("control", "treatment"))
    interval = s.fixed_interval(s.mean_difference(*s.adjust_with_cuped(control, treatment)))
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.29774, 0.18298, 0.41250), abs=1e-4)


def test_cuped_without_prior_values_changes_nothing():
    control, treatment = Moments(100, 1.0, 2.0), Moments(90, 1.5, 2.0)
    assert s.adjust_with_cuped(control, treatment) == (control, treatment)


def test_the_variance_of_a_ratio_is_over_units(samples):
    """tea-tasting, by the delta method: 0.0239145 [0.0174567, 0.0303722]."""
    arms = [compute_ratio_moments(*samples[arm][2:]) for arm in ("control", "treatment")]
    interval = s.fixed_interval(s.mean_difference(*arms))
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(
        (0.0239144727122, 0.0174566994279, 0.0303722459964)
    )


def test_the_anytime_interval_agrees_with_the_reference(samples):
    """gbstats with the same tuning: [0.0797827562, 0.6805497736], p = 0.0034930973."""
    interval = s.anytime_interval(
        s.mean_difference(*(compute_moments(samples[arm][0]) for arm in ("control", "treatment")))
    )
    assert (interval.low, interval.high) == pytest.approx((0.0797827561709, 0.6805497735939))
    assert interval.p == pytest.approx(0.0034930972824)


def test_the_anytime_interval_is_wider_than_the_fixed_one(samples):
    difference = s.mean_difference(*(compute_moments(samples[arm][0]) for arm in ("control", "treatment")))
    assert (
        s.anytime_interval(difference).low
        < s.fixed_interval(difference).low
        < s.fixed_interval(difference).high
        < s.anytime_interval(difference).high
    )
    assert s.anytime_interval(difference).p > s.fixed_interval(difference).p


def test_the_anytime_p_value_is_below_alpha_exactly_if_the_interval_excludes_zero():
    """At every sample size."""
    for n in (50, 500, 5000, 500_000):
        for z in np.linspace(0, 6, 61):
            difference = s.MeanDifference(float(z) / 100, 0.01, n, n, 1.0)
            interval = s.anytime_interval(difference)
            assert (interval.p < 0.05) == (interval.low > 0) or isclose(interval.low, 0, abs_tol=1e-9)


def test_the_lift_is_relative_to_the_control(samples):
    """tea-tasting: 0.0383735 [0.01877, 0.05835]; its limits are on a log scale, these are symmetric."""
    control, treatment = (compute_moments(samples[arm][0]) for arm in ("control", "treatment"))
    interval = s.relative_lift(control, treatment, s.fixed_interval(s.mean_difference(control, treatment)))
    assert interval == pytest.approx((0.0383735, 0.01877, 0.05835), abs=3e-4)


def test_there_is_no_lift_over_a_control_mean_close_to_zero():
    control, treatment = Moments(1000, 0.01, 1.0), Moments(1000, 0.5, 1.0)
    assert s.relative_lift(control, treatment, s.fixed_interval(s.mean_difference(control, treatment))) is None


def test_the_chance_of_a_rate_agrees_with_beta_draws():
    """570 against 500 of 10,000: chance 0.986, loss 1.5e-5, as from 4,000,000 draws."""
    chance, loss = s.rate_chance_and_loss((500, 10_000), (570, 10_000))
    rng = np.random.default_rng(1)
    a, b = rng.beta(501, 9501, 1_000_000), rng.beta(571, 9431, 1_000_000)
    assert chance == pytest.approx(float((b > a).mean()), abs=5e-4)
    assert loss == pytest.approx(float(np.maximum(a - b, 0).mean()), rel=0.05)
    chance_lower, loss_lower = s.rate_chance_and_loss((500, 10_000), (570, 10_000), higher_is_better=False)
    assert chance_lower == pytest.approx(1 - chance, abs=1e-6)
    assert loss_lower == pytest.approx(float(np.maximum(b - a, 0).mean()), rel=0.01)


def test_the_normal_chance_agrees_with_the_beta_chance():
    difference = s.mean_difference(Moments(10_000, 0.05, 0.0475), Moments(10_000, 0.057, 0.0537))
    assert s.chance_and_loss(difference)[0] == pytest.approx(
        s.rate_chance_and_loss((500, 10_000), (570, 10_000))[0], abs=1e-3
    )
    assert s.chance_and_loss(difference, higher_is_better=False)[0] == pytest.approx(
        1 - s.chance_and_loss(difference)[0]
    )


def test_a_sample_ratio_mismatch_has_a_low_p_value():
    assert s.sample_ratio_p([5000, 5400], [1, 1]) == pytest.approx(8.77e-5, rel=1e-3)
    assert s.sample_ratio_p([500, 260, 250], [50, 25, 25]) > 0.5
    assert s.sample_ratio_p([0, 0], [1, 1]) == 1.0


def test_p_values_are_adjusted_for_the_number_of_comparisons():
    assert s.adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert s.adjust_p_values([]) == []


def test_the_needed_units_detect_the_effect_with_the_power():
    """In a simulation with the needed units, about 80 % of the experiments detect the effect."""
    units = s.needed_units(4.0, 0.3, (50, 25))
    a, b = round(units * 2 / 3), round(units / 3)
    rng = np.random.default_rng(3)
    hits = sum(
        s.fixed_interval(
            s.mean_difference(compute_moments(rng.normal(0, 2, a)), compute_moments(rng.normal(0.3, 2, b)))
        ).p
        < 0.05
        for _ in range(600)
    )
    assert 0.75 < hits / 600 < 0.85


@pytest.mark.parametrize("n", [0, 1])
def test_without_units_or_variance_the_interval_is_unbounded(n):
    """No units, one unit, or no variance."""
    few = compute_moments(np.ones(n))
    for difference in (
        s.mean_difference(few, few),
        s.mean_difference(compute_moments(np.ones(9)), compute_moments(np.ones(9))),
    ):
        assert (s.fixed_interval(difference).low, s.fixed_interval(difference).p) == (-inf, 1.0)
        assert (s.anytime_interval(difference).high, s.anytime_interval(difference).p) == (inf, 1.0)
        assert s.chance_and_loss(difference)[0] == 0.5
    assert compute_ratio_moments(np.ones(n), np.zeros(n)).n == 0
    assert s.needed_units(1.0, 0.0, (1, 1)) == inf


def test_rates_that_do_not_vary_are_a_clear_difference():
    every, none = compute_moments(np.ones(200)), compute_moments(np.zeros(200))
    for difference in (s.rate_difference(none, every), s.mean_difference(none, every)):
        assert s.fixed_interval(difference).p < 1e-6
        assert s.anytime_interval(difference).p < 1e-6 and s.anytime_interval(difference).low > 0
    for interval in (
        s.fixed_interval(s.rate_difference(none, every)),
        s.anytime_interval(s.rate_difference(none, every)),
    ):
        assert interval.high == 1.0, "a difference of rates is at most 1"
    assert s.fixed_interval(s.rate_difference(every, every)).p == 1.0
    assert s.rate_difference(compute_moments(np.ones(1)), every).standard_error == inf


@pytest.mark.parametrize(("a", "b", "n"), [(30, 50, 200), (1, 9, 100), (500, 520, 1000)])
def test_the_p_value_of_rates_is_that_of_the_score_test(a, b, n):
    """Pearson's chi-squared test of the table without a correction is the square of the score test."""
    arms = [compute_moments(np.repeat([1.0, 0.0], [k, n - k])) for k in (a, b)]
    assert all(s.is_of_counts(arm) for arm in arms)
    expected = stats.chi2_contingency([[a, n - a], [b, n - b]], correction=False).pvalue
    assert s.fixed_interval(s.rate_difference(*arms)).p == pytest.approx(expected)


def test_a_weighted_rate_is_not_of_counts():
    weighted = compute_moments(np.array([1.0, 0.0, 1.0, 0.0]), weights=np.array([1.0, 5.0, 2.0, 1.0]))
    assert not s.is_of_counts(weighted)
