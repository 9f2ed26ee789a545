"""The contract of `stages.Reranker`, for every reranker. Add a new reranker to the list."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recommendations.contracts import ScoredCandidates
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.rerankers.ordering import Diversity, ExplorationSlots, ShowLessLast, Spacing
from tests.feed_parts import component_name, feed_components
from tests.strategies import DIMENSION, candidates, queries, read_only


def engine():
    """Return an engine with a vector at every second row, so that some posts have none."""
    engine = PlainEngine(DIMENSION)
    rows = np.arange(0, 30, 2, dtype=np.int32)
    vectors = np.random.default_rng(3).normal(size=(len(rows), DIMENSION)).astype(np.float32)
    engine.put(rows, rows.astype(np.int64) + 1, vectors)
    return engine


RERANKERS = (ExplorationSlots(), Diversity(engine()), ShowLessLast(), Spacing())
every_reranker = pytest.mark.parametrize("reranker", RERANKERS, ids=component_name)


@st.composite
def scored_posts(draw, max_size=25):
    """Draw read-only posts with any facts, scores and parts."""
    posts = draw(candidates(max_size=max_size))
    names = draw(st.sampled_from([(), ("recency",), ("recency", "show_less"), ("show_less",)]))
    parts = draw(arrays.arrays(np.float32, (len(posts), len(names)), elements=st.floats(-3, 3, width=32)))
    scores = draw(arrays.arrays(np.float32, len(posts), elements=st.floats(-100, 100, width=32)))
    return read_only(ScoredCandidates(posts, scores, names, parts))


def test_every_reranker_of_a_feed_is_in_the_list():
    known = {type(reranker) for reranker in RERANKERS}
    assert {type(reranker) for reranker in feed_components("rerankers")} - known == set()


def assert_is_permutation(order, n):
    """Assert that *order* has each of *n* positions exactly once."""
    assert order.dtype == np.int64 and order.shape == (n,)
    assert np.sort(order).tolist() == list(range(n))


@every_reranker
@given(posts=scored_posts(), query=queries())
def test_no_reranker_drops_or_duplicates_a_post(reranker, posts, query):
    """
    For any posts, slate size and policy, the result is a permutation, and equal inputs give equal results.

    The reranker does not write to posts or query (they are read-only here).
    """
    order = reranker(query, posts)
    assert_is_permutation(order, len(posts.scores))
    np.testing.assert_array_equal(reranker(query, replace(posts)), order)


@every_reranker
@settings(max_examples=20)
@given(posts=scored_posts(), query=queries())
def test_zero_and_one_post_are_permuted(reranker, posts, query):
    for count in (0, 1):
        few = posts.take(slice(count))
        assert_is_permutation(reranker(query, few), len(few.scores))
