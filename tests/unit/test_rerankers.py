"""Rerankers: a new order that drops none."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Candidates, Interests, Policy, Query, Scored
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.rerankers.diversity import Diversity, Spacing
from recommendations.pipeline.run import rerank
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
        interests=Interests.none(DIMENSION),
    )


def scored(authors):
    """Return posts by these authors in falling order of score."""
    n = len(authors)
    found = Candidates.unknown(np.arange(1, n + 1), np.zeros(n, np.uint16))
    found = replace(found, author_ids=np.array(authors, np.int64), rows=np.arange(n, dtype=np.int32))
    scores = np.arange(n, 0, -1, dtype=np.float32)
    return Scored(found, scores, ("recency",), scores[:, None])


def engine(n):
    engine = PlainEngine(DIMENSION)
    vectors = np.random.default_rng(3).normal(size=(n, DIMENSION)).astype(np.float32)
    engine.put(np.arange(n, dtype=np.int32), np.arange(1, n + 1), vectors)
    return engine


@given(st.lists(st.integers(-1, 4), max_size=40), st.integers(1, 12))
def test_no_reranker_drops_or_doubles_a_post(authors, size):
    """For any authors and any slate size, the answer is a permutation."""
    for reranker in (Diversity(engine(len(authors))), Spacing()):
        order = reranker(query(size), scored(authors))
        assert sorted(order.tolist()) == list(range(len(authors)))


def test_neighbours_are_by_different_authors_where_there_is_a_choice():
    order = Spacing()(query(5), scored([1, 1, 1, 2, 3]))
    assert [[1, 1, 1, 2, 3][i] for i in order] == [1, 2, 1, 3, 1]
    assert Spacing()(query(3), scored([1, 1, 1])).tolist() == [0, 1, 2]


def test_the_cap_holds_in_the_visible_part():
    order = Diversity(engine(8))(query(4, author_cap=2, diversity=0), scored([1, 1, 1, 1, 2, 2, 3, 3]))
    assert order[:4].tolist() == [0, 1, 4, 5]


def test_a_reranker_that_fails_costs_its_order_and_nothing_else():
    class Broken:
        name = "broken"

        def __call__(self, query, scored):
            raise RuntimeError("no order today")

    trace, before = Trace(), scored([1, 2, 3])
    after = rerank([Broken()], query(3), before, trace)
    assert after.candidates.post_ids.tolist() == [1, 2, 3]
    assert [(t.part, t.failed) for t in trace.timings] == [("broken", True)]


@pytest.mark.parametrize("size", [1, 150])
def test_no_candidates_are_no_trouble(size):
    for reranker in (Diversity(engine(0)), Spacing()):
        assert reranker(query(size), scored([])).tolist() == []
