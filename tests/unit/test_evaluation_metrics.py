"""The metrics of ranked lists against values computed by hand, oracles and invariants; intervals; slices."""

from math import log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommendations.evaluation import metrics
from recommendations.evaluation.intervals import Comparison, compare_paired, compute_interval
from recommendations.evaluation.ragged import Ragged, join_ragged

POSTS, K = 12, 5


@st.composite
def ranked_cases(draw):
    """Lists of up to K of POSTS posts, and at least one target for each case."""
    n = draw(st.integers(1, 6))
    posts = st.lists(st.integers(0, POSTS - 1), unique=True, max_size=K)
    lists = [draw(posts) for _ in range(n)]
    targets = [sorted(draw(st.sets(st.integers(0, POSTS - 1), min_size=1, max_size=7))) for _ in range(n)]
    padded = np.array([items + [-1] * (K - len(items)) for items in lists], np.int32)
    return padded, Ragged.from_lists(targets)


def test_metrics_of_one_case_by_hand():
    """Targets 3, 5 and 9; the list has 9 in the second place and 3 in the fourth."""
    targets = Ragged.from_lists([[3, 5, 9]])
    hits = metrics.find_hits(np.array([[7, 9, 1, 3, 2]], np.int32), targets)
    assert hits.tolist() == [[False, True, False, True, False]]
    assert metrics.compute_hit_rate(hits) == [1]
    assert metrics.compute_recall(hits, targets.lengths) == pytest.approx([2 / 3])
    assert metrics.compute_precision(hits) == pytest.approx([2 / 5])
    best = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.compute_ndcg(hits, targets.lengths) == pytest.approx([(1 / log2(3) + 1 / log2(5)) / best])
    assert metrics.compute_average_precision(hits, targets.lengths) == pytest.approx([(1 / 2 + 2 / 4) / 3])
    assert metrics.compute_reciprocal_rank(hits) == [0.5]


def test_more_targets_than_places_can_be_perfect():
    targets = Ragged.from_lists([[0, 1, 2, 3]])
    hits = metrics.find_hits(np.array([[2, 0]], np.int32), targets)
    assert metrics.compute_ndcg(hits, targets.lengths) == pytest.approx([1])
    assert metrics.compute_average_precision(hits, targets.lengths) == [1]
    assert metrics.compute_recall(hits, targets.lengths) == [0.5]


def test_a_target_of_another_case_and_an_empty_place_are_misses():
    hits = metrics.find_hits(np.array([[1, -1], [0, -1]], np.int32), Ragged.from_lists([[0], [1]]))
    assert not hits.any()
    assert metrics.compute_reciprocal_rank(hits).tolist() == [0, 0]


@given(ranked_cases())
def test_metrics_of_accuracy_agree_with_their_definitions(cases):
    lists, targets = cases
    hits = metrics.find_hits(lists, targets)
    counts = targets.lengths
    for case, (ranked, wanted) in enumerate(zip(lists.tolist(), targets, strict=True)):
        relevant = [post in wanted.tolist() for post in ranked]
        assert hits[case].tolist() == relevant
        gains = sum(1 / log2(place + 2) for place in range(K) if relevant[place])
        ideal = sum(1 / log2(place + 2) for place in range(min(K, len(wanted))))
        assert metrics.compute_ndcg(hits, counts)[case] == pytest.approx(gains / ideal)
        precisions = [sum(relevant[: place + 1]) / (place + 1) for place in range(K) if relevant[place]]
        average = sum(precisions) / min(K, len(wanted))
        assert metrics.compute_average_precision(hits, counts)[case] == pytest.approx(average)
        first = relevant.index(True) + 1 if any(relevant) else None
        assert metrics.compute_reciprocal_rank(hits)[case] == pytest.approx(1 / first if first else 0)


@given(ranked_cases())
def test_metrics_of_accuracy_are_ordered_and_bounded(cases):
    lists, targets = cases
    hits, counts = metrics.find_hits(lists, targets), targets.lengths
    hit = metrics.compute_hit_rate(hits)
    for values in (
        metrics.compute_recall(hits, counts),
        metrics.compute_precision(hits),
        metrics.compute_ndcg(hits, counts),
        metrics.compute_average_precision(hits, counts),
        metrics.compute_reciprocal_rank(hits),
    ):
        assert ((values >= 0) & (values <= hit + 1e-12)).all()
        assert ((values > 0) == (hit > 0)).all()


@given(st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=4), st.integers(1, 6))
def test_posts_are_ranked_by_score_and_the_lower_index_wins_a_tie(scores, k):
    """-2 stands for -inf, a post that must not be listed."""
    matrix = np.array([[-np.inf if score == -2 else score for score in row] for row in scores])
    for row, ranked in zip(scores, metrics.rank_posts(matrix, k).tolist(), strict=True):
        expected = sorted((post for post in range(4) if row[post] > -2), key=lambda post: (-row[post], post))[:k]
        assert ranked == expected + [-1] * (k - len(expected))


def test_no_posts_give_empty_lists():
    assert metrics.rank_posts(np.zeros((2, 0)), 3).tolist() == [[-1] * 3] * 2
    assert metrics.find_hits(np.full((1, 2), -1, np.int32), Ragged.from_lists([[0]])).tolist() == [[False, False]]


def test_coverage_and_gini_by_hand():
    lists = np.array([[0, 1], [0, -1]], np.int32)
    assert metrics.compute_coverage(lists, 4) == 0.5
    # Exposures 0, 0, 1, 2: (-3·0 - 1·0 + 1·1 + 3·2) / (4·3).
    assert metrics.compute_gini(lists, 4) == pytest.approx(7 / 12)
    assert metrics.compute_gini(np.array([[0, 1], [2, 3]], np.int32), 4) == 0
    assert np.isnan(metrics.compute_gini(np.full((1, 2), -1, np.int32), 4))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any))
def test_gini_is_half_the_relative_mean_difference(exposures):
    lists = np.repeat(np.arange(len(exposures)), exposures).astype(np.int32)[:, None]
    differences = np.abs(np.subtract.outer(exposures, exposures)).mean()
    assert metrics.compute_gini(lists, len(exposures)) == pytest.approx(differences / (2 * np.mean(exposures)))


def test_novelty_by_hand():
    """Of 7 members, 7 like post 0, 1 likes post 1, and nobody likes post 2; one is added to both numbers."""
    lists = np.array([[0, 1], [2, -1], [-1, -1]], np.int32)
    novelty = metrics.compute_novelty(lists, np.array([7, 1, 0]), 7)
    assert novelty[:2] == pytest.approx([(0 + 2) / 2, 3])
    assert np.isnan(novelty[2])


def test_intra_list_similarity_is_the_mean_cosine_of_pairs():
    vectors = np.array([[1.0, 0], [3, 0], [0, 2], [1, 1], [0, 0]])
    lists = np.array([[0, 1, -1], [0, 2, 3], [0, 4, -1], [1, -1, -1]], np.int32)
    similarity = metrics.compute_intra_list_similarity(lists, csr_array(vectors))
    assert similarity[:3] == pytest.approx([1, (0 + 2 * 0.5**0.5) / 3, 0])
    assert np.isnan(similarity[3])


def test_miscalibration_by_hand():
    """The member likes a drama and a post that is half drama, half comedy. The second list is calibrated."""
    tags = csr_array(np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    likes = csr_array(np.array([[1.0, 1, 0, 0]] * 3 + [[0, 0, 0, 1]]))
    lists = np.array([[2, -1], [0, 1], [3, -1], [0, 1]], np.int32)
    values = metrics.compute_miscalibration(lists, likes, tags)
    expected = 0.75 * log(0.75 / 0.0075) + 0.25 * log(0.25 / (0.99 + 0.0025))
    assert values[:2] == pytest.approx([expected, 0])
    assert np.isnan(values[2:]).all()


@given(st.data())
def test_miscalibration_is_never_negative(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    tags = csr_array((rng.random((6, 4)) < 0.4).astype(float))
    likes = csr_array((rng.random((3, 6)) < 0.5).astype(float))
    lists = metrics.rank_posts(rng.random((3, 6)), 3)
    values = metrics.compute_miscalibration(lists, likes, tags)
    assert (values[~np.isnan(values)] >= -1e-12).all()


def test_vectors_with_stored_zeros_are_scaled():
    vectors = csr_array((np.array([0.0, 3.0, 4.0]), ([0, 1, 1], [0, 0, 1])), shape=(2, 2))
    assert metrics.scale_rows(vectors, 2).toarray().tolist() == [[0, 0], [0.6, 0.8]]


def test_an_interval_agrees_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(2, 1, 400)
    interval = compute_interval(values, seed=3)
    error = values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error
    )
    assert interval == compute_interval(values, seed=3)


def test_an_interval_holds_the_true_mean_as_often_as_stated():
    rng = np.random.default_rng(5)
    intervals = [compute_interval(rng.normal(0, 1, 60), seed=seed, draws=300) for seed in range(200)]
    assert 0.88 <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.99


def test_values_of_one_member_are_drawn_together():
    """Each of 50 members has the same value eight times: the interval is that of 50 values, not of 400."""
    values = np.random.default_rng(2).normal(0, 1, 50)
    together = compute_interval(np.repeat(values, 8), seed=1, groups=np.repeat(np.arange(50), 8))
    alone = compute_interval(values, seed=1)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))


def test_unknown_values_are_left_out():
    values = np.array([1.0, np.nan, 3.0])
    interval = compute_interval(values, seed=1)
    assert interval.mean == 2
    assert 1 <= interval.low <= interval.high <= 3
    assert np.isnan(compute_interval(np.array([np.nan]), seed=1).mean)


def test_a_paired_comparison_sees_a_difference_that_two_intervals_hide():
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 10, 100)
    better, worse = hard + 1 + rng.normal(0, 0.1, 100), hard
    compared = compare_paired(better, worse, seed=1)
    assert compared.difference == pytest.approx(1, abs=0.1)
    assert compared.excludes_zero
    assert compute_interval(better, seed=1).low < compute_interval(worse, seed=1).high
    assert not compare_paired(worse, worse, seed=1).excludes_zero
    assert compare_paired(worse, better, seed=1).excludes_zero
    assert not Comparison(0.1, -0.1, 0.3).excludes_zero


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5), st.data())
def test_ragged_lists_behave_as_lists(lists, data):
    ragged = Ragged.from_lists(lists)
    assert [items.tolist() for items in ragged] == lists
    assert len(ragged) == len(lists)
    indexes = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6)) if lists else []
    assert [items.tolist() for items in ragged.take(np.array(indexes, np.int64))] == [lists[i] for i in indexes]
    even = ragged.keep(ragged.values % 2 == 0)
    assert [items.tolist() for items in even] == [[item for item in items if item % 2 == 0] for items in lists]
    assert [items.tolist() for items in join_ragged([ragged, even])] == lists + [items.tolist() for items in even]
    again = Ragged.from_owners(ragged.owners, ragged.values, len(lists))
    assert [items.tolist() for items in again] == lists
