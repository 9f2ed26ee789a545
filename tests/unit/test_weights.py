"""The search for the weights of score parts."""

import numpy as np
import pytest

from recommendations.evaluation.weights import LARGEST_WEIGHT, PartCases, is_gain, neighboring_values, search_weights

NAMES = ("signal", "noise", "kept")


def draw_cases(seed, cases=40, candidates=60, lift=0.5):
    """Return cases whose target has a high first part; the second part is noise, and the third is 1 everywhere."""
    rng = np.random.default_rng(seed)
    parts = rng.random((cases * candidates, 3)).astype(np.float32)
    parts[:, 2] = 1
    is_target = np.zeros(len(parts), np.bool_)
    is_target[::candidates] = True
    parts[is_target, 0] += np.float32(lift)
    return PartCases(np.arange(cases + 1) * candidates, parts, is_target, np.ones(cases, np.int64))


def test_ndcg_counts_every_target_of_the_case_and_the_earlier_candidate_wins_a_tie():
    cases = PartCases(
        starts=np.array([0, 3, 5, 5]),
        parts=np.zeros((5, 1), np.float32),
        is_target=np.array([False, True, True, True, False]),
        target_counts=np.array([3, 1, 1]),
    )
    found = cases.compute_ndcg(np.array([1, 3, 2, 5, 5], np.float32))
    best_of_three = 1 + 1 / np.log2(3) + 1 / 2
    assert found == pytest.approx([(1 + 1 / np.log2(3)) / best_of_three, 1, 0])


def test_the_search_raises_the_weight_of_a_signal_and_removes_noise():
    cases, start = draw_cases(1), np.array([0.0, 1.0, 1.0])
    weights = search_weights([cases], NAMES, start, np.array([True, True, True]))
    assert weights[0] > 3 * weights[1]
    assert cases.compute_ndcg(cases.parts @ weights.astype("f4")).mean() > 0.5
    assert start.tolist() == [0, 1, 1]


def test_only_free_weights_change_and_each_change_is_reported():
    lines = []
    weights = search_weights(
        [draw_cases(1)], NAMES, np.array([0.1, 1.0, 0.3]), np.array([True, False, False]), lines.append
    )
    assert weights[1:].tolist() == [1.0, 0.3]
    assert weights[0] > 0.1
    assert all(line.startswith("signal") for line in lines) and lines


def test_a_case_counts_the_same_however_hard_its_set_is():
    """The NDCG of the hard set is low, but it has twice the cases: its part wins."""
    easy, hard = draw_cases(2, cases=30, lift=5), draw_cases(3, cases=60)
    hard = PartCases(hard.starts, hard.parts[:, [1, 0, 2]], hard.is_target, hard.target_counts)
    start, is_free = np.array([0.3, 0.3, 1.0]), np.array([True, True, False])
    weights = search_weights([easy, hard], NAMES, start, is_free)
    assert weights[1] > weights[0]


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        pytest.param([0.1, 0.2, 0.1, 0.2], True, id="every case gains"),
        pytest.param([1.0, -1.0, 1.0, -0.9], False, id="cases differ by more than they gain"),
        pytest.param([0.001, 0.001, 0.001, 0.001], False, id="certain and too small"),
        pytest.param([0.0, 0.0, 0.0, 0.0], False, id="nothing changes"),
        pytest.param([-0.1, -0.2, -0.1, -0.2], False, id="every case loses"),
    ],
)
def test_a_gain_must_exceed_its_standard_error(gains, expected):
    assert is_gain(np.array(gains)) is expected


def test_joined_cases_have_the_figures_of_their_parts():
    first, second = draw_cases(4, cases=3), draw_cases(5, cases=2)
    joined = PartCases.join([first, second])
    apart = [cases.compute_ndcg(cases.parts[:, 0]) for cases in (first, second)]
    np.testing.assert_array_equal(joined.compute_ndcg(joined.parts[:, 0]), np.concatenate(apart))


@pytest.mark.parametrize("weight", [0, 0.013, 0.35, 1, LARGEST_WEIGHT])
def test_tried_values_differ_from_the_weight_and_stay_in_range(weight):
    values = neighboring_values(weight)
    assert values and weight not in values
    assert all(0 <= value <= LARGEST_WEIGHT and value == float(f"{value:.2g}") for value in values)
