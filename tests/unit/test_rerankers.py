"""Rerankers: what order each gives. That none drops a post is in `tests/spec/test_rerankers.py`."""

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


def scored_posts(authors, topics=(), auditioning=()):
    """Return posts by these authors, about these topics, in falling order of score; some of them on exploration."""
    n = len(authors)
    found = Candidates.unknown(np.arange(1, n + 1), np.zeros(n, np.uint16))
    found = replace(found, author_ids=np.array(authors, np.int64), rows=np.arange(n, dtype=np.int32))
    found.tag_ids[: len(topics), 0] = topics
    found.origins[list(auditioning)] |= np.uint16(1 << Origin.EXPLORATION)
    scores = np.arange(n, 0, -1, dtype=np.float32)
    return ScoredCandidates(found, scores, ("recency",), scores[:, None])


def engine(n):
    engine = PlainEngine(DIMENSION)
    vectors = np.random.default_rng(3).normal(size=(n, DIMENSION)).astype(np.float32)
    engine.put(np.arange(n, dtype=np.int32), np.arange(1, n + 1), vectors)
    return engine


POSTS = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3), st.booleans()), max_size=40)
"""Author, topic, and whether on exploration."""


def unpack_posts(drawn):
    return scored_posts(
        [a for a, _, _ in drawn], [t for _, t, _ in drawn], [i for i, (*_, on) in enumerate(drawn) if on]
    )


@given(POSTS, st.integers(1, 45), st.integers(1, 4))
def test_two_neighbours_are_by_one_author_only_if_nobody_else_is_left(drawn, size, run):
    order = Spacing()(query(size, max_topic_run=run), unpack_posts(drawn))[:size].tolist()
    authors = [drawn[at][0] for at in order]
    for i in range(1, len(authors)):
        if authors[i] == authors[i - 1]:
            assert set(authors[i:]) == {authors[i]}


@given(POSTS, st.integers(1, 45), st.integers(1, 4))
def test_a_topic_goes_on_beyond_its_run_only_if_nothing_else_fits(drawn, size, run):
    """Nothing by another author about something else is left; posts of unknown topic are no run."""
    order = Spacing()(query(size, max_topic_run=run), unpack_posts(drawn))[:size].tolist()
    topics, authors = [drawn[at][1] for at in order], [drawn[at][0] for at in order]
    for i in range(run, len(order)):
        before = set(topics[i - run : i])
        if before == {topics[i]} != {UNKNOWN}:
            left = [(a, t) for a, t, _ in (drawn[at] for at in order[i:])]
            assert not [1 for a, t in left if a != authors[i - 1] and t != topics[i]]


def test_a_third_post_about_one_topic_waits_for_another():
    order = Spacing()(query(5, max_topic_run=2), scored_posts([1, 2, 3, 4, 5], [7, 7, 7, 7, 8]))
    assert order.tolist() == [0, 1, 4, 2, 3]


def test_posts_without_a_topic_stay_where_they_are():
    order = Spacing()(query(4, max_topic_run=1), scored_posts([1, 2, 3, 4], [UNKNOWN, UNKNOWN, UNKNOWN, 5]))
    assert order.tolist() == [0, 1, 2, 3]


@given(POSTS, st.integers(1, 45), st.floats(0.02, 0.5))
def test_every_stretch_of_the_slate_has_an_audition_as_long_as_there_are_any(drawn, size, share):
    """A stretch without one has none behind it; the other posts keep their order."""
    on_audition = [on for *_, on in drawn]
    order = ExplorationSlots()(query(size, exploration_share=share), unpack_posts(drawn)).tolist()
    stretch = round(1 / share)
    for start in range(0, min(size, len(order)), stretch):
        if any(on_audition[at] for at in order[start:]):
            assert any(on_audition[at] for at in order[start : start + stretch])
    others = [at for at in order if not on_audition[at]]
    assert others == sorted(others)


def test_auditions_get_their_share_and_nothing_if_it_is_none():
    """Twenty are on exploration, all ranked last: one in every twenty of the slate's hundred, near the middle."""
    posts = scored_posts(range(200), auditioning=range(180, 200))
    order = ExplorationSlots()(query(100, exploration_share=0.05), posts).tolist()
    assert [i for i, at in enumerate(order[:100]) if at >= 180] == [10, 30, 50, 70, 90]
    assert ExplorationSlots()(query(100, exploration_share=0), posts).tolist() == list(range(200))


def test_neighbours_are_by_different_authors_where_there_is_a_choice():
    order = Spacing()(query(5), scored_posts([1, 1, 1, 2, 3]))
    assert [[1, 1, 1, 2, 3][i] for i in order] == [1, 2, 1, 3, 1]
    assert Spacing()(query(3), scored_posts([1, 1, 1])).tolist() == [0, 1, 2]


def test_the_cap_holds_in_the_visible_part():
    order = Diversity(engine(8))(query(4, author_cap=2, diversity=0), scored_posts([1, 1, 1, 1, 2, 2, 3, 3]))
    assert order[:4].tolist() == [0, 1, 4, 5]


def test_a_reranker_that_fails_costs_its_order_and_nothing_else():
    class Broken:
        name = "broken"

        def __call__(self, query, scored):
            raise RuntimeError("no order today")

    trace, before = Trace(), scored_posts([1, 2, 3])
    after = apply_rerankers([Broken()], query(3), before, trace)
    assert after.candidates.post_ids.tolist() == [1, 2, 3]
    assert [(t.component, t.failed) for t in trace.timings] == [("broken", True)]


@given(st.lists(st.floats(-3, 0), max_size=30))
def test_what_the_viewer_asked_to_see_less_of_comes_last_in_its_order(less):
    """For any parts: learned dislikes, above a half, move nothing."""
    parts = np.array(less, np.float32)[:, None] * np.float32(2)
    posts = replace(scored_posts([1] * len(less)), part_names=("show_less",), parts=parts)
    asked_for = parts[:, 0] < -1
    order = ShowLessLast()(query(5, show_less=2), posts)
    assert order.tolist() == [*np.flatnonzero(~asked_for), *np.flatnonzero(asked_for)]


def test_a_policy_without_less_and_a_feed_without_it_move_nothing():
    parts = np.array([[-0.0], [-0.0]], np.float32)
    posts = replace(scored_posts([1, 2]), part_names=("show_less",), parts=parts)
    assert ShowLessLast()(query(5, show_less=0), posts).tolist() == [0, 1]
    assert ShowLessLast()(query(5), scored_posts([1, 2])).tolist() == [0, 1]


def test_what_the_viewer_asked_to_see_less_of_is_brought_up_by_nobody():
    """Author 2 was turned down: neither variety nor an exploration puts them before the others."""
    asked = query(5, exploration_share=0.5, show_less=2)
    parts = np.array([0, 0, 0, -1.8, -1.8], np.float32)[:, None]
    posts = replace(scored_posts([1, 1, 1, 2, 2], auditioning=[3, 4]), part_names=("show_less",), parts=parts)
    assert ExplorationSlots()(asked, posts).tolist() == [0, 1, 2, 3, 4]
    spread = posts.take(Spacing()(asked, posts))
    assert spread.take(ShowLessLast()(asked, spread)).candidates.post_ids.tolist() == [1, 2, 3, 4, 5]
