"""What the catalogue reckons from counts, and which posts it names first."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Candidates
from recommendations.stores import resident_catalogue
from recommendations.stores.resident_catalogue import (
    CatalogueState,
    PostCounts,
    RowOrders,
    find_promising,
    first_eligible_rows,
    newest_in_groups,
)


def counts(positive_count, served_count):
    n = len(positive_count)
    return PostCounts(np.zeros(n), np.array(positive_count, np.float32), np.array(served_count, np.float32))


def qualities(positive_count, served_count):
    return counts(positive_count, served_count).quality(np.arange(len(positive_count), dtype=np.int32))


def test_the_usual_post_has_a_quality_of_a_half_and_so_has_one_that_nobody_met():
    """Among posts of one rate every post is the usual one, however often it was served."""
    np.testing.assert_allclose(qualities([5, 50, 500, 0], [50, 500, 5000, 0]), 0.5, rtol=1e-6)
    np.testing.assert_allclose(qualities([0, 0], [0, 0]), 0.5)


def test_better_than_usual_is_more_than_a_half_and_certainty_comes_with_impressions():
    liked_little, liked, passed_over, passed_over_long = qualities([2, 200, 0, 0], [10, 1000, 10, 1000])
    assert passed_over_long < passed_over < 0.5 < liked_little < liked < 1


COUNTS = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_quality_lies_between_zero_and_one(met):
    """For any counts, also where there are more positive acts than served_count."""
    found = qualities([p for p, _ in met], [i for _, i in met])
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert (found >= 0).all() and (found <= 1).all()


def is_worth_exploring(positive_count, served_count, usual):
    return find_promising(np.array([positive_count], np.float32), np.array([served_count], np.float32), usual).item()


def test_an_audition_ends_when_the_post_is_certain_to_do_worse():
    assert is_worth_exploring(0, 0, usual=0.05)
    assert is_worth_exploring(0, 20, usual=0.05)
    assert not is_worth_exploring(0, 100, usual=0.05)
    assert is_worth_exploring(5, 100, usual=0.05)
    assert not is_worth_exploring(1, 300, usual=0.05)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.001, 0.5))
def test_one_more_positive_act_never_ends_an_audition_that_one_more_passing_over_does_not_begin(
    positive_count, passed_over, usual
):
    """The rule is monotone: what goes on would go on with one like more, and with one passing over less."""
    if is_worth_exploring(positive_count, positive_count + passed_over, usual):
        assert is_worth_exploring(positive_count + 1, positive_count + 1 + passed_over, usual)
        assert is_worth_exploring(positive_count, positive_count + max(passed_over - 1, 0), usual)


@given(st.integers(0, 100), st.integers(0, 300))
def test_a_post_that_does_as_the_usual_one_is_never_cut_short(positive_count, passed_over):
    rate = (1 + positive_count) / (2 + positive_count + passed_over)
    assert is_worth_exploring(positive_count, positive_count + passed_over, rate * 0.999)


POSTS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 200), st.booleans()), max_size=40)
"""Author, age, served_count, and whether it is eligible."""


def unpack_columns(drawn):
    """Return the posts 100, 99, 98 … and the mask over them."""
    n = len(drawn)
    posts = Candidates.unknown(np.arange(100, 100 - n, -1), np.zeros(n, np.uint16))
    authors, ages = (np.array([post[at] for post in drawn], np.int64) for at in (0, 1))
    posts = replace(posts, author_ids=authors, created_at=1e9 - ages)
    served_count = np.array([post[2] for post in drawn], np.float32)
    counts = PostCounts(np.zeros(n), np.zeros(n, np.float32), served_count)
    return CatalogueState(posts, RowOrders(posts), counts), np.array([post[3] for post in drawn], np.bool_)


@pytest.mark.parametrize("stretch", [2, 2048], ids=["many", "few"])
@given(POSTS, st.sets(st.integers(1, 6)), st.integers(0, 12))
def test_the_newest_of_some_authors_are_theirs_and_the_newest(stretch, drawn, wanted, k):
    """However many they wrote, and however few are asked for."""
    columns, eligible = unpack_columns(drawn)
    authors = np.array(sorted(wanted), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident_catalogue, "SCAN_BLOCK_ROWS", stretch)
        found = newest_in_groups(columns, *columns.orders.by_author, authors, k, eligible).tolist()
    theirs = [(age, 100 - at) for at, (author, age, _, shown) in enumerate(drawn) if shown and author in wanted]
    assert found == [post_id for _, post_id in sorted(theirs)][:k]


@given(POSTS, st.integers(1, 200), st.integers(0, 12))
def test_on_audition_is_who_was_served_too_little_the_newest_first(drawn, enough, k):
    columns, eligible = unpack_columns(drawn)
    for asked in (enough, 1, enough):  # each number has rows of its own
        found = columns.posts.post_ids[
            first_eligible_rows(columns, columns.served_less_than(asked), eligible, k)
        ].tolist()
        short = [(age, 100 - at) for at, (_, age, served, shown) in enumerate(drawn) if shown and served < asked]
        assert found == [post_id for _, post_id in sorted(short)][:k]
