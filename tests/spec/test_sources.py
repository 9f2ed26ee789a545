"""The contract of `stages.Source`, for every source. Add a new source to the list."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import AccountStatus, Candidates, IndexFilter, Policy, Query, Sensitivity, Visibility
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.sources.collaborative import PARTS, Collaborative
from recommendations.pipeline.sources.exploration import Exploration
from recommendations.pipeline.sources.followed import FollowedAuthors
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import Topics
from recommendations.pipeline.sources.vector_index import VectorIndexSource
from recommendations.stores.popularity_sums import RelativePopularity
from recommendations.stores.resident_catalogue import (
    CatalogueState,
    PostCounts,
    RegionPosts,
    ResidentCatalogue,
    RowOrders,
)
from recommendations.stores.resident_vectors import ResidentVectors, index_filter_mask
from recommendations.stores.vocabulary import Vocabularies
from tests.feed_parts import feed_components
from tests.strategies import DIMENSION, POSTS, REGION, candidates, drawn_bytes, queries, read_only


@dataclass(frozen=True)
class World:
    """A catalogue of posts, and an engine with the vectors of some of them."""

    catalogue: ResidentCatalogue
    engine: PlainEngine


@dataclass(frozen=True)
class Case:
    """A source: its constructor and its maximum number of posts."""

    kind: type
    build: Callable[[World], Any]
    limit: Callable[[Query], int]
    respects_mask: bool = True
    """Whether all posts are in the mask. If not, they only pass the `IndexFilter` of the query."""


SOURCES = (
    *(
        Case(
            Collaborative,
            lambda world, origin=origin: Collaborative(origin, world.catalogue),
            lambda query: query.policy.collaborative_candidates,
        )
        for origin in PARTS
    ),
    Case(Exploration, lambda world: Exploration(world.catalogue), lambda query: query.policy.exploration_candidates),
    Case(
        FollowedAuthors, lambda world: FollowedAuthors(world.catalogue), lambda query: query.policy.followed_candidates
    ),
    Case(Fresh, lambda world: Fresh(world.catalogue), lambda query: max(query.policy.fresh_candidates, query.size)),
    Case(
        VectorIndexSource,
        lambda world: VectorIndexSource(ResidentVectors(world.engine, world.catalogue)),
        lambda query: query.policy.nearest_candidates,
        respects_mask=False,  # The index has posts that are not resident, and does not use the mask over resident rows.
    ),
    Case(Nearest, lambda world: Nearest(world.engine, world.catalogue), lambda query: query.policy.nearest_candidates),
    Case(Topics, lambda world: Topics(world.catalogue), lambda query: query.policy.topic_candidates),
    Case(Trending, lambda world: Trending(world.catalogue), lambda query: query.policy.trending_candidates),
)
every_source = pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.kind.__name__)
FEW = settings(max_examples=20)
"""For properties that hardly depend on the example."""
NO_CANDIDATES = Policy(
    nearest_candidates=0,
    followed_candidates=0,
    trending_candidates=0,
    fresh_candidates=0,
    topic_candidates=0,
    collaborative_candidates=0,
    exploration_candidates=0,
)
HALF_LIVES = Policy().popularity_half_lives


class FixedCatalogue(ResidentCatalogue):
    """A resident catalogue that is constructed with its posts instead of reading them from a database."""

    def __init__(self, columns, regions):
        super().__init__(
            spaces=(),
            vocabularies=Vocabularies(),
            max_posts=len(columns.posts),
            refresh_seconds=1,
            read_half_lives=lambda: HALF_LIVES,
        )
        self._columns, self._regions = columns, regions


@st.composite
def worlds(draw):
    """Draw a catalogue with any posts: some rows empty, some posts liked, served, or trending in a region."""
    n = draw(st.sampled_from([1, 20]))
    posts, rng = draw(candidates(n, n)), np.random.default_rng(draw(st.integers(0, 2**32)))
    is_empty, is_public = rng.random(n) < 0.2, rng.random(n) < 0.8
    posts = replace(
        posts,
        post_ids=np.where(is_empty, 0, posts.post_ids),
        rows=np.arange(n, dtype=np.int32),
        is_removed=is_empty,
        visibility=np.where(is_public, np.int8(Visibility.PUBLIC), posts.visibility),
        account_status=np.where(is_public, np.int8(AccountStatus.OPEN), posts.account_status),
        sensitivity=np.where(is_public, np.int8(Sensitivity.SAFE), posts.sensitivity),
    )
    heat = np.where(rng.random((n, 1)) < 0.5, rng.normal(size=(n, 5)).round(1), -np.inf)
    counts = PostCounts(
        RelativePopularity(heat, HALF_LIVES),
        rng.integers(0, 9, n).astype(np.float32),
        rng.integers(0, 200, n).astype(np.float32),
        (rng.random(n) * 70).astype(np.float32),
    )
    region = RegionPosts.empty(HALF_LIVES).with_changes(rng.choice(POSTS, 20, replace=False), rng.random((20, 5)))
    engine = PlainEngine(DIMENSION)
    rows = np.flatnonzero(~is_empty & (rng.random(n) < 0.8)).astype(np.int32)
    engine.put(rows, posts.post_ids[rows], rng.normal(size=(len(rows), DIMENSION)).astype(np.float32))
    columns = CatalogueState(read_only(posts), RowOrders(posts), counts)
    return World(FixedCatalogue(columns, {REGION: region}), engine)


@st.composite
def masks(draw, world):
    """Draw an eligibility mask. It may be shorter than the catalogue, as after posts were added."""
    posts = world.catalogue.all_posts()
    size = draw(st.sampled_from([len(posts), len(posts) // 2]))
    mask = (drawn_bytes(draw, size) % 4 != 3) & ~posts.is_removed[:size]
    mask.setflags(write=False)
    return mask


# every source


def test_every_source_of_a_feed_is_in_the_list():
    assert {type(source) for source in feed_components("sources")} - {case.kind for case in SOURCES} == set()


@every_source
@given(world=worlds(), query=queries(), data=st.data())
def test_a_source_returns_distinct_eligible_posts_up_to_its_limit(case, world, query, data):
    """
    For any catalogue, viewer, limits and mask. Equal inputs give equal results, also from another instance.

    The source does not write to mask, catalogue or query (they are read-only here).
    """
    mask = data.draw(masks(world))
    post_ids = case.build(world)(query, mask)
    assert post_ids.dtype == np.int64 and post_ids.ndim == 1
    assert len(set(post_ids.tolist())) == len(post_ids) <= case.limit(query)
    posts = world.catalogue.all_posts()
    allowed = np.flatnonzero(mask if case.respects_mask else index_filter_mask(posts, IndexFilter.for_query(query)))
    assert set(post_ids.tolist()) <= set(posts.post_ids[allowed].tolist()) - {0}
    np.testing.assert_array_equal(case.build(world)(query, mask), post_ids)


@every_source
@FEW
@given(world=worlds(), query=queries())
def test_a_limit_of_zero_returns_no_posts(case, world, query):
    posts = world.catalogue.all_posts()
    post_ids = case.build(world)(replace(query, policy=NO_CANDIDATES, size=0), ~posts.is_removed)
    assert post_ids.dtype == np.int64 and post_ids.shape == (0,)


@every_source
@FEW
@given(query=queries())
def test_an_empty_catalogue_gives_no_posts(case, query):
    no_posts = Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16))
    catalogue = FixedCatalogue(CatalogueState(no_posts, RowOrders(no_posts), PostCounts.zeros(0, HALF_LIVES)), {})
    post_ids = case.build(World(catalogue, PlainEngine(DIMENSION)))(query, np.zeros(0, np.bool_))
    assert post_ids.dtype == np.int64 and post_ids.shape == (0,)


@pytest.mark.parametrize("case", [case for case in SOURCES if case.respects_mask], ids=lambda case: case.kind.__name__)
@FEW
@given(world=worlds(), query=queries())
def test_without_eligible_posts_no_posts_are_returned(case, world, query):
    mask = np.zeros(len(world.catalogue.all_posts()), np.bool_)
    assert case.build(world)(query, mask).tolist() == []
