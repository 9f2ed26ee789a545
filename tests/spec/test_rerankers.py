"""The law of `stages.Reranker`, held by every reranker: a new one joins by its name in the list."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recommendations.contracts import ScoredCandidates
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.rerankers.ordering import Diversity, ExplorationSlots, ShowLessLast, Spacing
from tests.feed_parts import feed_parts, part_name
from tests.strategies import DIMENSION, candidates, queries, read_only


def engine():
    """Return an engine with a vector at every second row, so that some posts have none."""
    engine = PlainEngine(DIMENSION)
    rows = np.arange(0, 30, 2, dtype=np.int32)
    vectors = np.random.default_rng(3).normal(size=(len(rows), DIMENSION)).astype(np.float32)
    engine.put(rows, rows.astype(np.int64) + 1, vectors)
    return engine


RERANKERS = (ExplorationSlots(), Diversity(engine()), ShowLessLast(), Spacing())
every_reranker = pytest.mark.parametrize("reranker", RERANKERS, ids=part_name)


@st.composite
def scored(draw, max_size=25):
    """Draw posts with any facts, scores and parts. Nothing of them can be written to."""
    posts = draw(candidates(max_size=max_size))
    names = draw(st.sampled_from([(), ("recency",), ("recency", "show_less"), ("show_less",)]))
    parts = draw(arrays.arrays(np.float32, (len(posts), len(names)), elements=st.floats(-3, 3, width=32)))
    scores = draw(arrays.arrays(np.float32, len(posts), elements=st.floats(-100, 100, width=32)))
    return read_only(ScoredCandidates(posts, scores, names, parts))


def test_every_reranker_of_a_feed_is_in_the_list():
    known = {type(reranker) for reranker in RERANKERS}
    assert {type(reranker) for reranker in feed_parts("rerankers")} - known == set()


def assert_is_an_order(order, n):
    """Hold *order* to be each of *n* positions once."""
    assert order.dtype == np.int64 and order.shape == (n,)
    assert np.sort(order).tolist() == list(range(n))


@every_reranker
@given(posts=scored(), query=queries())
def test_no_reranker_drops_or_doubles_a_post(reranker, posts, query):
    """
    For any posts, slate size and policy the answer is a permutation, and the same for the same.

    Neither posts nor query are written to (they are read-only here).
    """
    order = reranker(query, posts)
    assert_is_an_order(order, len(posts.scores))
    np.testing.assert_array_equal(reranker(query, replace(posts)), order)


@every_reranker
@settings(max_examples=20)
@given(posts=scored(), query=queries())
def test_none_and_one_are_no_trouble(reranker, posts, query):
    for count in (0, 1):
        few = posts.take(slice(count))
        assert_is_an_order(reranker(query, few), len(few.scores))
