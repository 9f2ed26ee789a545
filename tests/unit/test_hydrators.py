"""The hydrator of posts that are not resident: it reads a limited number of them and touches no other."""

from dataclasses import replace
from uuid import UUID

import numpy as np

from recommendations.contracts import UNKNOWN, Candidates, Interests, Policy, Query
from recommendations.pipeline.hydrators.cold_facts import ColdFacts

QUERY = Query(
    request_id=UUID(int=1),
    viewer_id=1,
    feed="discovery",
    size=10,
    now=1e9,
    policy=Policy(),
    variant="control",
    policy_version=1,
    interests=Interests.empty(8),
)


class Posts:
    """A database in which each post's author is its id plus 1,000; it remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def read(self, post_ids, interests):
        self.asked.append(post_ids.tolist())
        found = Candidates.unknown(post_ids, np.full(len(post_ids), 99, np.uint16))
        return replace(found, author_ids=post_ids + 1_000, is_removed=np.zeros(len(post_ids), np.bool_))


def candidates(n, *, resident=()):
    """Return the posts 1 to n, brought by source 0; those at the positions *resident* have a row and author 5."""
    found = Candidates.unknown(np.arange(1, n + 1), np.ones(n, np.uint16))
    at = list(resident)
    found.rows[at], found.author_ids[at], found.is_removed[at] = 7, 5, False
    return found


def test_facts_are_filled_in_only_where_the_catalogue_knows_none():
    posts, before = Posts(), candidates(4, resident=[1, 3])
    after = ColdFacts(posts)(QUERY, before)
    assert posts.asked == [[1, 3]]
    assert after.author_ids.tolist() == [1001, 5, 1003, 5] and not after.is_removed.any()
    assert after.post_ids.tolist() == [1, 2, 3, 4] and after.origins.tolist() == [1] * 4
    assert after.rows.tolist() == [UNKNOWN, 7, UNKNOWN, 7]
    assert before.author_ids.tolist() == [UNKNOWN, 5, UNKNOWN, 5], "columns are replaced, not changed"


def test_nothing_is_read_where_all_is_resident():
    posts, before = Posts(), candidates(3, resident=[0, 1, 2])
    assert ColdFacts(posts)(QUERY, before) is before and posts.asked == []


def test_at_most_a_hundred_posts_are_read_and_the_others_stay_unknown():
    posts = Posts()
    after = ColdFacts(posts)(QUERY, candidates(130))
    assert [len(asked) for asked in posts.asked] == [100]
    assert after.is_removed.tolist() == [False] * 100 + [True] * 30
