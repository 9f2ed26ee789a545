"""The contract of `stages.Hydrator`, for every hydrator. Add a new hydrator to the list."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings

from recommendations.contracts import CANDIDATE_COLUMNS, MAX_COLD_POSTS, UNKNOWN, Candidates
from recommendations.pipeline.hydrators.cold_facts import ColdFacts
from tests.feed_parts import component_name, feed_components
from tests.strategies import assert_same_columns, candidates, queries, read_only


@dataclass(frozen=True)
class FakeColdPosts:
    """`ColdPosts` in which the author of each post has the id of the post. Posts with even ids are deleted."""

    def read(self, post_ids, interests, wanted_tag_ids):
        posts = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
        return replace(posts, author_ids=np.where(post_ids % 2, post_ids, UNKNOWN))


HYDRATORS = (ColdFacts(FakeColdPosts()),)
every_hydrator = pytest.mark.parametrize("hydrator", HYDRATORS, ids=component_name)


def test_every_hydrator_of_a_feed_is_in_the_list():
    known = {type(hydrator) for hydrator in HYDRATORS}
    assert {type(hydrator) for hydrator in feed_components("hydrators")} - known == set()


@every_hydrator
@given(posts=candidates(), query=queries())
def test_the_posts_are_the_same_in_the_same_order(hydrator, posts, query):
    """
    For any posts, ids, origins and rows stay, columns keep shape and type, and equal inputs give equal results.

    The hydrator does not write to its inputs (they are read-only here).
    """
    filled = hydrator(query, posts)
    assert_same_columns(filled, posts, "post_ids", "origins", "rows")
    for name in CANDIDATE_COLUMNS:
        assert getattr(filled, name).shape == getattr(posts, name).shape
        assert getattr(filled, name).dtype == getattr(posts, name).dtype
    assert_same_columns(hydrator(query, read_only(replace(posts))), filled)


@every_hydrator
@settings(max_examples=20)
@given(query=queries())
def test_no_posts_give_no_posts(hydrator, query):
    assert len(hydrator(query, Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16)))) == 0


# one hydrator


@given(posts=candidates(), query=queries())
def test_non_resident_posts_get_facts_and_resident_posts_keep_theirs(posts, query):
    filled, cold = ColdFacts(FakeColdPosts())(query, posts), posts.rows == UNKNOWN
    assert_same_columns(filled.take(~cold), posts.take(~cold))
    expected = np.where(posts.post_ids % 2, posts.post_ids, UNKNOWN)
    np.testing.assert_array_equal(filled.author_ids[cold], expected[cold])


@settings(max_examples=20)
@given(query=queries())
def test_at_most_the_limit_of_posts_is_read(query):
    many = Candidates.unknown(np.arange(1, 2 * MAX_COLD_POSTS, 2), np.zeros(MAX_COLD_POSTS, np.uint16))
    more = Candidates.unknown(np.arange(1, 2 * MAX_COLD_POSTS + 21, 2), np.zeros(MAX_COLD_POSTS + 10, np.uint16))
    assert ColdFacts(FakeColdPosts())(query, many).has_author.all()
    assert np.count_nonzero(ColdFacts(FakeColdPosts())(query, more).has_author) == MAX_COLD_POSTS
