"""Tests of the catalogue's quality and exploration rules, and of its orders of posts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Candidates, Policy
from recommendations.stores import resident_catalogue
from recommendations.stores.resident_catalogue import (
    CatalogueState,
    PostCounts,
    RowLookup,
    RowOrders,
    find_promising,
    first_eligible_rows,
    newest_in_groups,
)

HALF_LIVES = Policy().popularity_half_lives


def counts(positive_count, served_count):
    return replace(
        PostCounts.zeros(len(positive_count), HALF_LIVES),
        positive_count=np.array(positive_count, np.float32),
        served_count=np.array(served_count, np.float32),
    )


def qualities(positive_count, served_count):
    return counts(positive_count, served_count).quality(np.arange(len(positive_count), dtype=np.int32))


def test_an_average_post_and_a_post_without_interactions_have_a_quality_of_one_half():
    """If all posts have the same rate, each is average, however often it was served."""
    np.testing.assert_allclose(qualities([5, 50, 500, 0], [50, 500, 5000, 0]), 0.5, rtol=1e-6)
    np.testing.assert_allclose(qualities([0, 0], [0, 0]), 0.5)


def test_a_better_post_has_more_than_one_half_and_more_evidence_moves_it_further():
    liked_briefly, liked_long, ignored_briefly, ignored_long = qualities([2, 200, 0, 0], [10, 1000, 10, 1000])
    assert ignored_long < ignored_briefly < 0.5 < liked_briefly < liked_long < 1


COUNTS = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_quality_lies_between_zero_and_one(drawn):
    """For any counts, even with more positive interactions than times served."""
    quality = qualities([positive for positive, _ in drawn], [served for _, served in drawn])
    assert quality.dtype == np.float32 and np.isfinite(quality).all()
    assert (quality >= 0).all() and (quality <= 1).all()


def is_worth_exploring(positive_count, served_count, average_rate):
    return find_promising(
        np.array([positive_count], np.float32), np.array([served_count], np.float32), average_rate
    ).item()


def test_exploration_ends_when_the_post_is_certain_to_be_worse():
    assert is_worth_exploring(0, 0, average_rate=0.05)
    assert is_worth_exploring(0, 20, average_rate=0.05)
    assert not is_worth_exploring(0, 100, average_rate=0.05)
    assert is_worth_exploring(5, 100, average_rate=0.05)
    assert not is_worth_exploring(1, 300, average_rate=0.05)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.001, 0.5))
def test_a_better_result_never_ends_exploration(positive_count, ignored_count, average_rate):
    """The rule is monotone: exploration that goes on also goes on with one more like, or ignored once less."""
    if is_worth_exploring(positive_count, positive_count + ignored_count, average_rate):
        assert is_worth_exploring(positive_count + 1, positive_count + 1 + ignored_count, average_rate)
        assert is_worth_exploring(positive_count, positive_count + max(ignored_count - 1, 0), average_rate)


@given(st.integers(0, 100), st.integers(0, 300))
def test_exploration_of_an_average_post_never_ends(positive_count, ignored_count):
    rate = (1 + positive_count) / (2 + positive_count + ignored_count)
    assert is_worth_exploring(positive_count, positive_count + ignored_count, rate * 0.999)


POSTS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 200), st.booleans()), max_size=40)
"""Author, age, times served, and whether the post is eligible."""


def build_state(drawn):
    """Return a state with the posts 100, 99, 98 … and their mask of eligible posts."""
    n = len(drawn)
    posts = Candidates.unknown(np.arange(100, 100 - n, -1), np.zeros(n, np.uint16))
    authors, ages = (np.array([post[field] for post in drawn], np.int64) for field in (0, 1))
    posts = replace(posts, author_ids=authors, created_at=1e9 - ages)
    served_count = np.array([post[2] for post in drawn], np.float32)
    counts = replace(PostCounts.zeros(n, HALF_LIVES), served_count=served_count)
    return CatalogueState(posts, RowOrders(posts), counts), np.array([post[3] for post in drawn], np.bool_)


@pytest.mark.parametrize("block_rows", [2, 2048], ids=["many", "few"])
@given(POSTS, st.sets(st.integers(1, 6)), st.integers(0, 12))
def test_newest_in_groups_returns_the_newest_eligible_posts_of_the_authors(block_rows, drawn, author_ids, k):
    """For any number of posts per author, and any k."""
    state, eligible = build_state(drawn)
    authors = np.array(sorted(author_ids), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident_catalogue, "SCAN_BLOCK_ROWS", block_rows)
        found = newest_in_groups(state, *state.orders.by_author, authors, k, eligible).tolist()
    expected = [
        (age, 100 - row)
        for row, (author, age, _, is_eligible) in enumerate(drawn)
        if is_eligible and author in author_ids
    ]
    assert found == [post_id for _, post_id in sorted(expected)][:k]


@given(POSTS, st.integers(1, 200), st.integers(0, 12))
def test_posts_to_explore_are_those_served_less_than_the_limit_newest_first(drawn, max_served, k):
    state, eligible = build_state(drawn)
    for limit in (max_served, 1, max_served):  # the rows are computed once per limit
        found = state.posts.post_ids[first_eligible_rows(state, state.served_less_than(limit), eligible, k)].tolist()
        expected = [
            (age, 100 - row)
            for row, (_, age, served, is_eligible) in enumerate(drawn)
            if is_eligible and served < limit
        ]
        assert found == [post_id for _, post_id in sorted(expected)][:k]


@given(st.sets(st.integers(1, 60), max_size=12), st.sampled_from([1, 1_000]))
def test_rows_are_found_by_id_for_dense_and_for_sparse_ids(ids, step):
    """0 marks a free row."""
    post_ids = np.array([id * step for id in ids] + [0], np.int64)
    row_by_id = {id: row for row, id in enumerate(post_ids.tolist()) if id}
    wanted = np.arange(-1, 62, dtype=np.int64) * step + np.arange(63) % 2
    expected = [row_by_id.get(id, -1) for id in wanted.tolist()]
    assert RowLookup(post_ids).rows_of(wanted).tolist() == expected
