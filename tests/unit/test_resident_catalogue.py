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


def counts(positive_count, seen_count):
    return replace(
        PostCounts.zeros(len(positive_count), HALF_LIVES),
        positive_count=np.array(positive_count, np.float32),
        seen_count=np.array(seen_count, np.float32),
    )


def qualities(positive_count, seen_count):
    return counts(positive_count, seen_count).quality(np.arange(len(positive_count), dtype=np.int32))


def test_an_average_post_and_a_post_without_interactions_have_a_quality_of_one_half():
    """If all posts have the same rate, each is average, however many members looked at it."""
    np.testing.assert_allclose(qualities([5, 50, 500, 0], [50, 500, 5000, 0]), 0.5, rtol=1e-6)
    np.testing.assert_allclose(qualities([0, 0], [0, 0]), 0.5)


def test_a_better_post_has_more_than_one_half_and_more_evidence_moves_it_further():
    liked_briefly, liked_long, ignored_briefly, ignored_long = qualities([2, 200, 0, 0], [10, 1000, 10, 1000])
    assert ignored_long < ignored_briefly < 0.5 < liked_briefly < liked_long < 1


COUNTS = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_quality_lies_between_zero_and_one(drawn):
    """For any counts, even with more positive interactions than looks."""
    quality = qualities([positive for positive, _ in drawn], [seen for _, seen in drawn])
    assert quality.dtype == np.float32 and np.isfinite(quality).all()
    assert (quality >= 0).all() and (quality <= 1).all()


def test_likes_from_elsewhere_change_neither_the_average_nor_the_quality():
    """A post that nobody was shown, and one that got more likes than looks, as after an import."""
    assert counts([100, 5], [0, 50]).average_rate == counts([0, 5], [0, 50]).average_rate == pytest.approx(0.1)
    assert qualities([100, 5], [0, 50])[0] == pytest.approx(0.5)
    np.testing.assert_allclose(qualities([900, 5], [20, 50]), qualities([20, 5], [20, 50]))


def is_worth_exploring(success_count, seen_count, average_rate):
    return find_promising(
        np.array([success_count], np.float32), np.array([seen_count], np.float32), average_rate
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


POSTS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 3), st.tuples(st.integers(0, 200), st.integers(0, 200)), st.booleans()),
    max_size=40,
)
"""Author, age, times served and positive interactions, and whether the post is eligible."""


def build_state(drawn):
    """Return a state with the posts 100, 99, 98 … and their mask of eligible posts."""
    n = len(drawn)
    posts = Candidates.unknown(np.arange(100, 100 - n, -1), np.zeros(n, np.uint16))
    authors, ages = (np.array([post[field] for post in drawn], np.int64) for field in (0, 1))
    posts = replace(posts, author_ids=authors, created_at=1e9 - ages)
    served, positive = np.array([post[2] for post in drawn], np.float32).reshape(-1, 2).T
    counts = replace(PostCounts.zeros(n, HALF_LIVES), served_count=served, positive_count=positive)
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
def test_posts_in_exploration_are_known_to_few_members_newest_first(drawn, max_served, k):
    """A post with many positive interactions from elsewhere is known, also if it was never served."""
    state, eligible = build_state(drawn)
    for limit in (max_served, 1, max_served):  # the rows are computed once per limit
        found = state.posts.post_ids[first_eligible_rows(state, state.in_exploration(limit), eligible, k)].tolist()
        expected = [
            (age, 100 - row)
            for row, (_, age, counts, is_eligible) in enumerate(drawn)
            if is_eligible and max(counts) < limit
        ]
        assert found == [post_id for _, post_id in sorted(expected)][:k]


def explored(state, eligible, k, seed=0):
    """Return the ids of the posts to explore that a catalogue in this state returns, for any number of times served."""
    catalogue = object.__new__(resident_catalogue.ResidentCatalogue)
    catalogue._state = state
    ids, success_count, seen_count = catalogue.exploration_posts(1_000, k, eligible, np.random.default_rng(seed))
    assert len(ids) == len(success_count) == len(seen_count)
    return ids.tolist()


@given(POSTS, st.integers(0, 12), st.integers(0, 9))
def test_half_of_the_posts_to_explore_are_the_newest_and_all_are_different_and_eligible(drawn, k, seed):
    state, eligible = build_state(drawn)
    found = explored(state, eligible, k, seed)
    assert found == explored(state, eligible, k, seed), "the generator decides"
    newest = sorted((age, 100 - row) for row, (_, age, _, is_eligible) in enumerate(drawn) if is_eligible)
    assert found[: k - k // 2] == [post_id for _, post_id in newest][: k - k // 2]
    assert len(found) == len(set(found)) <= k
    assert set(found) <= {post_id for _, post_id in newest}


def test_an_old_post_that_was_not_served_while_it_was_new_is_explored_like_others():
    """Of 400 posts, the two newest are always drawn from; each of the others in 2 of 398 draws, wherever it is."""
    state, eligible = build_state([(1, age, (0, 0), True) for age in range(400)])
    drawn = [post for seed in range(4_000) for post in explored(state, eligible, 4, seed)[2:]]
    counts = np.bincount([100 - post for post in drawn], minlength=400)[2:]
    assert counts.sum() > 7_900, "rarely one of them is among the newest, or both are the same"
    old, new = counts[:199].mean(), counts[199:].mean()
    assert old == pytest.approx(new, rel=0.1) and counts.min() > 2


@given(st.sets(st.integers(1, 60), max_size=12), st.sampled_from([1, 1_000]))
def test_rows_are_found_by_id_for_dense_and_for_sparse_ids(ids, step):
    """0 marks a free row."""
    post_ids = np.array([id * step for id in ids] + [0], np.int64)
    row_by_id = {id: row for row, id in enumerate(post_ids.tolist()) if id}
    wanted = np.arange(-1, 62, dtype=np.int64) * step + np.arange(63) % 2
    expected = [row_by_id.get(id, -1) for id in wanted.tolist()]
    assert RowLookup(post_ids).rows_of(wanted).tolist() == expected
