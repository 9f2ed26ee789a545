"""Rerankers: the order of each. `tests/spec/test_rerankers.py` tests that none drops a post."""

from dataclasses import replace
from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import UNKNOWN, Candidates, Interests, Origin, Policy, Query, ScoredCandidates
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.rerankers.ordering import Diversity, ExplorationSlots, ShowLessLast, Spacing
from recommendations.pipeline.run import apply_rerankers
from recommendations.pipeline.stages import Trace

DIMENSION = 8


def query(size, **settings):
    return Query(
        request_id=UUID(int=1),
        viewer_id=1,
        feed="discovery",
        size=size,
        now=1e9,
        policy=Policy(**settings),
        variant="control",
        policy_version=1,
        interests=Interests.empty(DIMENSION),
    )


def scored_posts(authors, topics=(), exploration=()):
    """Return posts with these authors and topics, by descending score. *exploration* are positions of such posts."""
    n = len(authors)
    posts = Candidates.unknown(np.arange(1, n + 1), np.zeros(n, np.uint16))
    posts = replace(posts, author_ids=np.array(authors, np.int64), rows=np.arange(n, dtype=np.int32))
    posts.tag_ids[: len(topics), 0] = topics
    posts.origins[list(exploration)] |= np.uint16(1 << Origin.EXPLORATION)
    scores = np.arange(n, 0, -1, dtype=np.float32)
    return ScoredCandidates(posts, scores, ("recency",), scores[:, None])


def engine(n):
    engine = PlainEngine(DIMENSION)
    vectors = np.random.default_rng(3).normal(size=(n, DIMENSION)).astype(np.float32)
    engine.put(np.arange(n, dtype=np.int32), np.arange(1, n + 1), vectors)
    return engine


POSTS = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3), st.booleans()), max_size=40)
"""Author, topic, and whether the post is in exploration."""


def unpack_posts(drawn):
    return scored_posts(
        [a for a, _, _ in drawn],
        [t for _, t, _ in drawn],
        [i for i, (*_, is_exploration) in enumerate(drawn) if is_exploration],
    )


@given(POSTS, st.integers(1, 45), st.integers(1, 4))
def test_neighbors_share_an_author_only_if_no_other_author_is_left(drawn, size, run):
    order = Spacing()(query(size, max_topic_run=run), unpack_posts(drawn))[:size].tolist()
    authors = [drawn[at][0] for at in order]
    for i in range(1, len(authors)):
        if authors[i] == authors[i - 1]:
            assert set(authors[i:]) == {authors[i]}


@given(POSTS, st.integers(1, 45), st.integers(1, 4))
def test_a_topic_exceeds_its_run_only_if_no_other_post_fits(drawn, size, run):
    """No post by another author about another topic is left. Posts of unknown topic do not form a run."""
    order = Spacing()(query(size, max_topic_run=run), unpack_posts(drawn))[:size].tolist()
    topics, authors = [drawn[at][1] for at in order], [drawn[at][0] for at in order]
    for i in range(run, len(order)):
        run_topics = set(topics[i - run : i])
        if run_topics == {topics[i]} != {UNKNOWN}:
            remaining = [(a, t) for a, t, _ in (drawn[at] for at in order[i:])]
            assert not [1 for a, t in remaining if a != authors[i - 1] and t != topics[i]]


def test_a_third_post_about_one_topic_waits_for_another_topic():
    order = Spacing()(query(5, max_topic_run=2), scored_posts([1, 2, 3, 4, 5], [7, 7, 7, 7, 8]))
    assert order.tolist() == [0, 1, 4, 2, 3]


def test_posts_without_a_topic_keep_their_positions():
    order = Spacing()(query(4, max_topic_run=1), scored_posts([1, 2, 3, 4], [UNKNOWN, UNKNOWN, UNKNOWN, 5]))
    assert order.tolist() == [0, 1, 2, 3]


@given(POSTS, st.integers(1, 45), st.floats(0.02, 0.5))
def test_every_slot_has_an_exploration_post_as_long_as_any_is_left(drawn, size, share):
    """A slot without one has none after it. The other posts keep their order."""
    is_exploration = [flag for *_, flag in drawn]
    order = ExplorationSlots()(query(size, exploration_share=share), unpack_posts(drawn)).tolist()
    slot_size = round(1 / share)
    for start in range(0, min(size, len(order)), slot_size):
        if any(is_exploration[at] for at in order[start:]):
            assert any(is_exploration[at] for at in order[start : start + slot_size])
    others = [at for at in order if not is_exploration[at]]
    assert others == sorted(others)


def test_exploration_posts_get_their_share_of_the_slate():
    """Twenty posts are in exploration, all ranked last: each slot of twenty has one, near its middle."""
    posts = scored_posts(range(200), exploration=range(180, 200))
    order = ExplorationSlots()(query(100, exploration_share=0.05), posts).tolist()
    assert [i for i, at in enumerate(order[:100]) if at >= 180] == [10, 30, 50, 70, 90]
    assert ExplorationSlots()(query(100, exploration_share=0), posts).tolist() == list(range(200))


def test_neighbors_are_by_different_authors_if_possible():
    order = Spacing()(query(5), scored_posts([1, 1, 1, 2, 3]))
    assert [[1, 1, 1, 2, 3][i] for i in order] == [1, 2, 1, 3, 1]
    assert Spacing()(query(3), scored_posts([1, 1, 1])).tolist() == [0, 1, 2]


def test_the_author_cap_applies_to_the_slate():
    order = Diversity(engine(8))(query(4, author_cap=2, diversity=0), scored_posts([1, 1, 1, 1, 2, 2, 3, 3]))
    assert order[:4].tolist() == [0, 1, 4, 5]


def test_a_reranker_that_fails_leaves_the_order_unchanged():
    class Broken:
        name = "broken"

        def __call__(self, query, scored):
            raise RuntimeError("a bug in a reranker")

    trace, before = Trace(), scored_posts([1, 2, 3])
    after = apply_rerankers([Broken()], query(3), before, trace)
    assert after.candidates.post_ids.tolist() == [1, 2, 3]
    assert [(t.component, t.failed) for t in trace.timings] == [("broken", True)]


@given(st.lists(st.floats(-3, 0), max_size=30))
def test_show_less_posts_come_last_in_their_order(values):
    """For any parts. Learned dislikes, above -0.5 before the weight, move no post."""
    parts = np.array(values, np.float32)[:, None] * np.float32(2)
    posts = replace(scored_posts([1] * len(values)), part_names=("show_less",), parts=parts)
    is_show_less = parts[:, 0] < -1
    order = ShowLessLast()(query(5, show_less=2), posts)
    assert order.tolist() == [*np.flatnonzero(~is_show_less), *np.flatnonzero(is_show_less)]


def test_without_show_less_the_order_is_unchanged():
    parts = np.array([[-0.0], [-0.0]], np.float32)
    posts = replace(scored_posts([1, 2]), part_names=("show_less",), parts=parts)
    assert ShowLessLast()(query(5, show_less=0), posts).tolist() == [0, 1]
    assert ShowLessLast()(query(5), scored_posts([1, 2])).tolist() == [0, 1]


def test_no_reranker_moves_show_less_posts_up():
    """The viewer wants less of author 2: neither spacing nor exploration puts their posts before the others."""
    viewer_query = query(5, exploration_share=0.5, show_less=2)
    parts = np.array([0, 0, 0, -1.8, -1.8], np.float32)[:, None]
    posts = replace(scored_posts([1, 1, 1, 2, 2], exploration=[3, 4]), part_names=("show_less",), parts=parts)
    assert ExplorationSlots()(viewer_query, posts).tolist() == [0, 1, 2, 3, 4]
    spread = posts.take(Spacing()(viewer_query, posts))
    assert spread.take(ShowLessLast()(viewer_query, spread)).candidates.post_ids.tolist() == [1, 2, 3, 4, 5]
