"""
The statistics of experiments against known answers.

Where a figure has a source it is named: tea-tasting 1.14.0 and gbstats 0.8.0 were asked once about the data of `world`.
"""

from math import inf, isclose

import numpy as np
import pytest
from scipy import stats

from flags.analysis import statistics as s
from flags.analysis.moments import Moments, compute_moments, compute_ratio_moments


@pytest.fixture(scope="module")
def world():
    """Two variants with a true difference of 0.3, what each unit did before, and a ratio of two counts."""
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


def test_the_fixed_interval_is_welchs(world):
    """tea-tasting: 0.380166 [0.187974, 0.572358], p = 0.000106250; scipy agrees."""
    control, treatment = world["control"][0], world["treatment"][0]
    found = s.fixed_interval(s.mean_difference(compute_moments(control), compute_moments(treatment)))
    assert found.estimate == pytest.approx(0.3801662648824)
    assert (found.low, found.high) == pytest.approx((0.1879742697805, 0.5723582599843))
    assert found.p == pytest.approx(stats.ttest_ind(treatment, control, equal_var=False).pvalue)


def test_cuped_takes_out_what_was_there_before(world):
    """tea-tasting: 0.29774 [0.18298, 0.41250]; its theta is pooled in another way, so four digits agree."""
    control, treatment = (compute_moments(*world[arm][:2]) for arm in ("control", "treatment"))
    found = s.fixed_interval(s.mean_difference(*s.adjust_with_cuped(control, treatment)))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.29774, 0.18298, 0.41250), abs=1e-4)


def test_without_a_prior_cuped_changes_nothing():
    control, treatment = Moments(100, 1.0, 2.0), Moments(90, 1.5, 2.0)
    assert s.adjust_with_cuped(control, treatment) == (control, treatment)


def test_a_ratio_is_of_units_not_of_events(world):
    """tea-tasting, by the delta method: 0.0239145 [0.0174567, 0.0303722]."""
    arms = [compute_ratio_moments(*world[arm][2:]) for arm in ("control", "treatment")]
    found = s.fixed_interval(s.mean_difference(*arms))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.0239144727122, 0.0174566994279, 0.0303722459964))


def test_the_anytime_interval_is_the_sequence_of_the_paper(world):
    """gbstats with the same tuning: [0.0797827562, 0.6805497736], p = 0.0034930973."""
    found = s.anytime_interval(s.mean_difference(*(compute_moments(world[arm][0]) for arm in ("control", "treatment"))))
    assert (found.low, found.high) == pytest.approx((0.0797827561709, 0.6805497735939))
    assert found.p == pytest.approx(0.0034930972824)


def test_the_anytime_interval_is_wider_than_the_fixed_one(world):
    found = s.mean_difference(*(compute_moments(world[arm][0]) for arm in ("control", "treatment")))
    assert (
        s.anytime_interval(found).low
        < s.fixed_interval(found).low
        < s.fixed_interval(found).high
        < s.anytime_interval(found).high
    )
    assert s.anytime_interval(found).p > s.fixed_interval(found).p


def test_a_p_value_is_below_alpha_just_where_the_interval_leaves_zero_out():
    """The p-value inverts the interval, at every size."""
    for n in (50, 500, 5000, 500_000):
        for z in np.linspace(0, 6, 61):
            found = s.MeanDifference(float(z) / 100, 0.01, n, n, 1.0)
            interval = s.anytime_interval(found)
            assert (interval.p < 0.05) == (interval.low > 0) or isclose(interval.low, 0, abs_tol=1e-9)


def test_the_lift_is_relative_to_the_control(world):
    """tea-tasting: 0.0383735 [0.01877, 0.05835]; its limits are on a log scale, ours symmetric."""
    control, treatment = (compute_moments(world[arm][0]) for arm in ("control", "treatment"))
    found = s.relative_lift(control, treatment, s.fixed_interval(s.mean_difference(control, treatment)))
    assert found == pytest.approx((0.0383735, 0.01877, 0.05835), abs=3e-4)


def test_a_lift_over_about_nothing_is_not_told():
    control, treatment = Moments(1000, 0.01, 1.0), Moments(1000, 0.5, 1.0)
    assert s.relative_lift(control, treatment, s.fixed_interval(s.mean_difference(control, treatment))) is None


def test_the_chance_of_a_rate_is_that_of_two_betas():
    """570 against 500 of 10,000: chance 0.986, loss 1.5e-5, as by 4,000,000 draws."""
    chance, loss = s.rate_chance_and_loss((500, 10_000), (570, 10_000))
    rng = np.random.default_rng(1)
    a, b = rng.beta(501, 9501, 1_000_000), rng.beta(571, 9431, 1_000_000)
    assert chance == pytest.approx(float((b > a).mean()), abs=5e-4)
    assert loss == pytest.approx(float(np.maximum(a - b, 0).mean()), rel=0.05)
    fewer, cost = s.rate_chance_and_loss((500, 10_000), (570, 10_000), higher_is_better=False)
    assert fewer == pytest.approx(1 - chance, abs=1e-6)
    assert cost == pytest.approx(float(np.maximum(b - a, 0).mean()), rel=0.01)


def test_the_normal_chance_agrees_with_the_betas():
    found = s.mean_difference(Moments(10_000, 0.05, 0.0475), Moments(10_000, 0.057, 0.0537))
    assert s.chance_and_loss(found)[0] == pytest.approx(
        s.rate_chance_and_loss((500, 10_000), (570, 10_000))[0], abs=1e-3
    )
    assert s.chance_and_loss(found, higher_is_better=False)[0] == pytest.approx(1 - s.chance_and_loss(found)[0])


def test_a_wrong_split_is_seen():
    assert s.sample_ratio_p([5000, 5400], [1, 1]) == pytest.approx(8.77e-5, rel=1e-3)
    assert s.sample_ratio_p([500, 260, 250], [50, 25, 25]) > 0.5
    assert s.sample_ratio_p([0, 0], [1, 1]) == 1.0


def test_many_comparisons_cost_something():
    assert s.adjust_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert s.adjust_p_values([]) == []


def test_the_needed_units_find_the_effect_with_the_power():
    """Simulated: the effect that these many units should find in 80 % is found in about 80 %."""
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
def test_too_little_to_say_is_said(n):
    """No units, one unit, or no spread: an interval without limits, and no verdict."""
    few = compute_moments(np.ones(n))
    for found in (
        s.mean_difference(few, few),
        s.mean_difference(compute_moments(np.ones(9)), compute_moments(np.ones(9))),
    ):
        assert (s.fixed_interval(found).low, s.fixed_interval(found).p) == (-inf, 1.0)
        assert (s.anytime_interval(found).high, s.anytime_interval(found).p) == (inf, 1.0)
        assert s.chance_and_loss(found)[0] == 0.5
    assert compute_ratio_moments(np.ones(n), np.zeros(n)).n == 0
    assert s.needed_units(1.0, 0.0, (1, 1)) == inf
