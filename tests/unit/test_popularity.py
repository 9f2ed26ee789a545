"""The arithmetic of popularity: sums that decay, the bound of a member's weight, and shares of the greatest sum."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import POPULARITY_SUMS, Candidates, Policy
from recommendations.stores import resident_catalogue
from recommendations.stores.popularity_sums import (
    MAX_MEMBER_WEIGHT,
    RelativePopularity,
    add_to_sums,
    bound_weights,
    compute_heat,
    order_by,
    scale_weights,
)
from recommendations.stores.relational_posts import StatsRow
from recommendations.stores.resident_catalogue import CatalogueState, PostCounts, RegionPosts, RowOrders, with_counts

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
AT_START = START.timestamp()
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0
HALF_LIVES = (HOUR, DAY, 7 * DAY, YEAR, inf)


def add(sums, *changes, summed_at=0.0):
    """Return the sums of one post and their time after adding (time, weight) to *sums*, all equal."""
    times, weights = (np.array(column, np.float64) for column in zip(*changes, strict=True))
    rows = np.zeros(len(changes), np.int64)
    changed, at = add_to_sums(np.full((1, 5), sums), np.array([summed_at]), rows, times, weights, HALF_LIVES)
    return changed[0].tolist(), at.item()


def test_the_default_half_lives_are_an_hour_a_day_a_week_a_year_and_none():
    assert Policy().popularity_half_lives == HALF_LIVES
    assert replace(Policy(), day_half_life_hours=12.0).popularity_half_lives[1] == DAY / 2


def test_a_view_counts_by_a_quarter_of_its_weight_and_a_negative_interaction_not_at_all():
    weights = Policy(weight_view=0.2, weight_click=0.5, weight_like=1.5, weight_hide=-1.0).popularity_weights
    assert [weights[kind] for kind in ("view", "click", "like", "hide")] == [pytest.approx(0.05), 0.5, 1.5, 0]


@pytest.mark.parametrize("i", range(4))
def test_each_sum_halves_after_its_half_life_except_the_total(i):
    changed, at = add(8.0, (HALF_LIVES[i], 1.0))
    assert (changed[i], changed[4], at) == (pytest.approx(5.0), 9.0, HALF_LIVES[i])
    assert changed == sorted(changed)


def test_a_late_interaction_is_decayed_as_if_it_had_arrived_on_time():
    late = add(0.0, (10 * HOUR, 1.0), (8 * HOUR, 2.0))
    on_time = add(0.0, (8 * HOUR, 2.0), (10 * HOUR, 1.0))
    assert late == on_time and late[1] == 10 * HOUR
    assert late[0][0] == pytest.approx(1.5) and late[0][4] == 3.0


@given(
    st.lists(st.tuples(st.floats(0, 2 * YEAR), st.floats(0.1, 3)), min_size=1, max_size=8),
    st.integers(0, 8),
)
def test_sums_that_are_added_in_parts_equal_those_added_at_once(changes, size):
    first, rest = changes[:size], changes[size:]
    sums, at = np.zeros((1, 5)), np.zeros(1)
    for part in filter(None, (first, rest)):
        times, weights = (np.array(column) for column in zip(*part, strict=True))
        sums, at = add_to_sums(sums, at, np.zeros(len(part), np.int64), times, weights, HALF_LIVES)
    expected, latest = add(0.0, *changes)
    np.testing.assert_allclose(sums[0], expected, atol=1e-9)
    assert at.item() == latest


def test_removing_the_only_interactions_leaves_exact_zeros_and_no_sum_is_negative():
    changed, _ = add(0.0, (1.0, 0.1), (2.0, 0.2))
    assert add_to_sums(
        np.array([changed]),
        np.array([2.0]),
        np.zeros(2, np.int64),
        np.array([1.0, 2.0]),
        -np.array([0.1, 0.2]),
        HALF_LIVES,
    )[0].tolist() == [[0.0] * 5]
    assert add(1.0, (0.0, -2.0))[0] == [0.0] * 5


def test_the_weights_of_a_member_on_a_post_are_bounded_in_order():
    pairs = np.array([0, 0, 1, 2, 0, 0])
    weights = np.array([2.0, -1.0, 2.0, 2.0, 2.0, 2.0])
    assert bound_weights(pairs, weights).tolist() == [2.0, 0.0, 2.0, 2.0, 1.0, 0.0]
    assert MAX_MEMBER_WEIGHT == 3.0


@given(st.lists(st.floats(-10, 10), max_size=60))
def test_a_member_never_adds_more_than_the_bound(weights):
    added = bound_weights(np.zeros(len(weights), np.int64), np.array(weights)).tolist()
    assert all(0 <= share <= max(weight, 0) for share, weight in zip(added, weights, strict=True))
    assert sum(added) == pytest.approx(min(sum(w for w in weights if w > 0), MAX_MEMBER_WEIGHT))


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-10, 10)), max_size=60), st.floats(0.1, 20))
def test_bounds_on_columns_give_the_bits_of_one_row_after_the_other(rows, bound):
    totals, added, sums = Counter(), [], Counter()
    for pair, weight in rows:
        added.append(max(min(weight, MAX_MEMBER_WEIGHT - totals[pair]), 0.0))
        totals[pair] += added[-1]
        sums[pair // 2] += added[-1]
    scaled = [
        weight * min(1.0, bound / sums[pair // 2]) if weight else 0.0
        for (pair, _), weight in zip(rows, added, strict=True)
    ]
    pairs = np.array([pair for pair, _ in rows], np.int64)
    bounded = bound_weights(pairs, np.array([weight for _, weight in rows]))
    assert bounded.tolist() == added
    assert scale_weights(pairs // 2, bounded, bound).tolist() == scaled


def popularity(*sums, at=AT_START):
    """Return the popularity of posts with these sums; a number stands for five equal sums."""
    rows = np.array([np.broadcast_to(row, 5) for row in sums], np.float64)
    return RelativePopularity(compute_heat(rows, np.broadcast_to(at, len(rows)), HALF_LIVES), HALF_LIVES)


ALL = np.arange(3, dtype=np.int32)


def test_popularity_is_relative_to_the_most_popular_post():
    """The average interaction meets a sum of (30² + 10²) / 40 = 25. The shares are log(1 + s/25) / log(1 + 30/25)."""
    shares = popularity(30, 10, 0).all_time
    np.testing.assert_allclose(shares, [1, 0.42675, 0], atol=1e-5)
    np.testing.assert_allclose(popularity(3000, 1000, 0).all_time, shares, atol=1e-6)
    assert shares.dtype == np.float32


def test_the_popularity_of_the_year_and_of_all_time_and_the_trend_come_from_their_own_sums():
    one = popularity([0, 0, 0, 5, 0], [0, 0, 0, 0, 5], [9, 9, 9, 0, 0])
    assert (one.year.tolist(), one.all_time.tolist()) == ([1, 0, 0], [0, 1, 0])
    np.testing.assert_allclose(one.fast_shares, [0, 0, 1])


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=20), st.floats(0, 4e9))
def test_shares_grow_with_the_sum_from_0_to_1_at_any_time(sums, at):
    one = popularity(*sums, at=at)
    for shares in (one.all_time, one.year, one.fast_shares, one.trend(np.arange(len(sums), dtype=np.int32), at)):
        assert shares.dtype == np.float32 and ((shares >= 0) & (shares <= np.float32(1.000001))).all()
        assert (np.diff(shares[np.argsort(sums)]) >= 0).all()


def test_popularity_does_not_depend_on_the_age_of_the_data():
    recent, old = popularity(30, 10, 3), popularity(30, 10, 3, at=0.0)
    np.testing.assert_allclose(recent.year, old.year, atol=1e-6)
    np.testing.assert_allclose(recent.fast_shares, old.fast_shares, atol=1e-6)


def test_a_trend_fades_with_its_activity_until_one_member_could_have_caused_it():
    """Each greatest sum is 300 at the start, and below 3 after 7 half-lives: the week sum after 49 days."""
    one = popularity(300, 10, 0)
    trend = [one.trend(ALL[:1], AT_START + hours * HOUR).item() for hours in (0, 3, 24, 24 * 6, 24 * 46, 24 * 49)]
    assert trend == sorted(trend, reverse=True)
    assert trend[0] == pytest.approx(0.99)
    assert trend[2] == pytest.approx((0 + (1 - 3 / 150) + (1 - 3 / 300 * 2 ** (1 / 7))) / 3)
    assert trend[4] > 0 and trend[5] == 0
    assert popularity(2.99, 1, 0).trend(ALL, AT_START).tolist() == [0, 0, 0]


def test_posts_without_interactions_have_no_popularity_and_are_in_no_order():
    one = RelativePopularity.zeros(3, HALF_LIVES)
    for shares in (one.all_time, one.year, one.fast_shares, one.trend(ALL, AT_START)):
        assert shares.tolist() == [0, 0, 0] and shares.dtype == np.float32
    assert order_by(one.all_time, ALL.astype(np.int64)).tolist() == []


def test_equal_posts_are_ordered_by_id():
    assert order_by(np.array([0.5, 0, 1, 0.5], np.float32), np.array([9, 1, 2, 4])).tolist() == [2, 3, 0]


KEYS = st.lists(st.sampled_from([0, 0.1, 0.5, 0.5, 1]), max_size=12)


@given(KEYS, st.integers(1, 12))
def test_a_limit_returns_the_first_of_the_order(keys, limit):
    columns = np.array(keys, np.float32), np.arange(len(keys), 0, -1)
    np.testing.assert_array_equal(order_by(*columns, limit), order_by(*columns)[:limit])


def stats(post_id, sums, at):
    return StatsRow(post_id, *np.broadcast_to(np.array(sums, float), 5).tolist(), at, 0, 0, 0.0)


def test_the_catalogue_orders_posts_by_decayed_sums():
    """Post 1 has the greatest total; after a week, post 3 leads in all fast sums."""
    posts = Candidates.unknown(np.array([1, 2, 3, 4]), np.zeros(4, np.uint16))
    state = CatalogueState(posts, RowOrders(posts), PostCounts.zeros(4, HALF_LIVES))
    later = START + timedelta(days=7)
    state = with_counts(state, [stats(1, 8, START), stats(2, 5, START), stats(3, 4.5, later)])
    assert posts.post_ids[state.by_trend].tolist() == [3, 1, 2]
    assert posts.post_ids[state.by_popularity].tolist() == [1, 2, 3]
    columns = state.counts.candidate_columns(np.array([0, 3], np.int32), later.timestamp())
    assert columns["popularity"].tolist() == [1, 0] and columns["trend"][1] == 0
    assert 0 < columns["trend"][0] < 0.2


def test_a_region_keeps_its_most_popular_and_its_trending_posts(monkeypatch):
    monkeypatch.setattr(resident_catalogue, "MAX_REGION_POSTS", 1)
    fast, slow, neither = [9, 9, 9, 0, 1], [0, 0, 0, 9, 9], [1, 1, 1, 1, 1]
    heat = popularity(fast, slow, neither).heat
    region = RegionPosts.empty(HALF_LIVES).with_changes(np.array([4, 5, 6]), heat)
    assert (region.popular_ids.tolist(), region.trending_ids.tolist()) == ([5], [4])
    assert sorted(region.post_ids.tolist()) == [4, 5]
    assert region.with_changes(np.array([4]), heat[2:]).trending_ids.tolist() == [4]
    assert len(POPULARITY_SUMS) == heat.shape[1]
