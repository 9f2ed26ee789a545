"""`ColdFacts` reads the facts of a limited number of posts that are not resident, and changes no other post."""

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


class FakeColdPosts:
    """`ColdPosts` in which the author of each post has the id of the post plus 1,000. It records its calls."""

    def __init__(self):
        self.calls = []

    def read(self, post_ids, interests, wanted_tag_ids):
        assert wanted_tag_ids is QUERY.feed_filter.tag_ids
        self.calls.append(post_ids.tolist())
        posts = Candidates.unknown(post_ids, np.full(len(post_ids), 99, np.uint16))
        return replace(posts, author_ids=post_ids + 1_000, is_removed=np.zeros(len(post_ids), np.bool_))


def candidates(n, *, resident=()):
    """Return the posts 1 to n of source 0. Posts at the positions *resident* have a row and author 5."""
    posts = Candidates.unknown(np.arange(1, n + 1), np.ones(n, np.uint16))
    at = list(resident)
    posts.rows[at], posts.author_ids[at], posts.is_removed[at] = 7, 5, False
    return posts


def test_only_non_resident_posts_get_facts():
    posts, before = FakeColdPosts(), candidates(4, resident=[1, 3])
    after = ColdFacts(posts)(QUERY, before)
    assert posts.calls == [[1, 3]]
    assert after.author_ids.tolist() == [1001, 5, 1003, 5] and not after.is_removed.any()
    assert after.post_ids.tolist() == [1, 2, 3, 4] and after.origins.tolist() == [1] * 4
    assert after.rows.tolist() == [UNKNOWN, 7, UNKNOWN, 7]
    assert before.author_ids.tolist() == [UNKNOWN, 5, UNKNOWN, 5], "the input is not modified"


def test_nothing_is_read_if_every_post_is_resident():
    posts, before = FakeColdPosts(), candidates(3, resident=[0, 1, 2])
    assert ColdFacts(posts)(QUERY, before) is before and posts.calls == []


def test_at_most_a_hundred_posts_are_read_and_the_others_stay_unknown():
    posts = FakeColdPosts()
    after = ColdFacts(posts)(QUERY, candidates(130))
    assert [len(post_ids) for post_ids in posts.calls] == [100]
    assert after.is_removed.tolist() == [False] * 100 + [True] * 30
