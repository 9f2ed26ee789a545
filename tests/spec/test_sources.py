"""The law of `stages.Source`, held by every source: a new one joins by its name in the list."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import AccountStatus, Candidates, IndexFilter, Policy, Query, Sensitivity, Visibility
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.sources.exploration import Exploration
from recommendations.pipeline.sources.followed import FollowedAuthors
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import Topics
from recommendations.pipeline.sources.vector_index import VectorIndexSource
from recommendations.stores.resident_catalogue import (
    CatalogueState,
    PostCounts,
    RegionTrends,
    ResidentCatalogue,
    RowOrders,
)
from recommendations.stores.resident_vectors import ResidentVectors, index_filter_mask
from recommendations.stores.vocabulary import Vocabularies
from tests.feed_parts import feed_parts
from tests.strategies import DIMENSION, POSTS, REGION, candidates, picked, queries, read_only


@dataclass(frozen=True)
class World:
    """Where sources look for posts: a catalogue, and an engine with the vectors of some of them."""

    catalogue: ResidentCatalogue
    engine: PlainEngine


@dataclass(frozen=True)
class Case:
    """A source: how it is made, and how many posts it may bring at most."""

    kind: type
    make: Callable[[World], Any]
    limit: Callable[[Query], int]
    heeds_mask: bool = True
    """Whether it brings rows of the mask only. If not, it brings what the viewer may be shown as far as it can tell."""


SOURCES = (
    Case(Exploration, lambda world: Exploration(world.catalogue), lambda query: query.policy.exploration_candidates),
    Case(
        FollowedAuthors, lambda world: FollowedAuthors(world.catalogue), lambda query: query.policy.followed_candidates
    ),
    Case(Fresh, lambda world: Fresh(world.catalogue), lambda query: max(query.policy.fresh_candidates, query.size)),
    Case(
        VectorIndexSource,
        lambda world: VectorIndexSource(ResidentVectors(world.engine, world.catalogue)),
        lambda query: query.policy.nearest_candidates,
        heeds_mask=False,  # The index knows posts that are not resident, and no mask over those that are.
    ),
    Case(Nearest, lambda world: Nearest(world.engine, world.catalogue), lambda query: query.policy.nearest_candidates),
    Case(Topics, lambda world: Topics(world.catalogue), lambda query: query.policy.topic_candidates),
    Case(Trending, lambda world: Trending(world.catalogue), lambda query: query.policy.trending_candidates),
)
every_source = pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.kind.__name__)
FEW = settings(max_examples=20)
"""For what hardly depends on the example."""
NOTHING = Policy(
    nearest_candidates=0,
    followed_candidates=0,
    trending_candidates=0,
    fresh_candidates=0,
    topic_candidates=0,
    exploration_candidates=0,
)


class Shelf(ResidentCatalogue):
    """A resident catalogue that was handed its posts instead of reading them from a database."""

    def __init__(self, columns, regions):
        super().__init__(spaces=(), vocabularies=Vocabularies(), max_posts=len(columns.posts), refresh_seconds=1)
        self._columns, self._regions = columns, regions


@st.composite
def worlds(draw):
    """Draw a catalogue with any posts, some slots empty, some posts liked, served, or popular in a region."""
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
    heat = np.where(rng.random(n) < 0.5, rng.normal(size=n).round(1), -np.inf)
    counts = PostCounts(heat, rng.integers(0, 9, n).astype(np.float32), rng.integers(0, 200, n).astype(np.float32))
    popular = {int(post): float(rng.random()) for post in rng.choice(POSTS, 20, replace=False)}
    engine = PlainEngine(DIMENSION)
    rows = np.flatnonzero(~is_empty & (rng.random(n) < 0.8)).astype(np.int32)
    engine.put(rows, posts.post_ids[rows], rng.normal(size=(len(rows), DIMENSION)).astype(np.float32))
    columns = CatalogueState(read_only(posts), RowOrders(posts), counts)
    return World(Shelf(columns, {REGION: RegionTrends.merge(popular, {})}), engine)


@st.composite
def masks(draw, world):
    """Draw which rows are eligible. The mask is shorter than the catalogue where posts came meanwhile."""
    posts = world.catalogue.all_posts()
    size = draw(st.sampled_from([len(posts), len(posts) // 2]))
    mask = (picked(draw, size) % 4 != 3) & ~posts.is_removed[:size]
    mask.setflags(write=False)
    return mask


# every source


def test_every_source_of_a_feed_is_in_the_list():
    assert {type(source) for source in feed_parts("sources")} - {case.kind for case in SOURCES} == set()


@every_source
@given(world=worlds(), query=queries(), data=st.data())
def test_a_source_brings_posts_that_may_be_shown_each_once_and_no_more_than_its_limit(case, world, query, data):
    """
    For any catalogue, viewer, limits and mask; and the same for the same, from another one of its kind too.

    Neither mask, catalogue nor query are written to (they are read-only here).
    """
    mask = data.draw(masks(world))
    found = case.make(world)(query, mask)
    assert found.dtype == np.int64 and found.ndim == 1
    assert len(set(found.tolist())) == len(found) <= case.limit(query)
    posts = world.catalogue.all_posts()
    allowed = np.flatnonzero(mask if case.heeds_mask else index_filter_mask(posts, IndexFilter.for_query(query)))
    assert set(found.tolist()) <= set(posts.post_ids[allowed].tolist()) - {0}
    np.testing.assert_array_equal(case.make(world)(query, mask), found)


@every_source
@FEW
@given(world=worlds(), query=queries())
def test_a_limit_of_none_brings_none(case, world, query):
    posts = world.catalogue.all_posts()
    found = case.make(world)(replace(query, policy=NOTHING, size=0), ~posts.is_removed)
    assert found.dtype == np.int64 and found.shape == (0,)


@every_source
@FEW
@given(query=queries())
def test_an_empty_catalogue_brings_nothing(case, query):
    nothing = Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16))
    shelf = Shelf(CatalogueState(nothing, RowOrders(nothing), PostCounts.zeros(0)), {})
    found = case.make(World(shelf, PlainEngine(DIMENSION)))(query, np.zeros(0, np.bool_))
    assert found.dtype == np.int64 and found.shape == (0,)


@pytest.mark.parametrize("case", [case for case in SOURCES if case.heeds_mask], ids=lambda case: case.kind.__name__)
@FEW
@given(world=worlds(), query=queries())
def test_where_nothing_is_eligible_nothing_is_brought(case, world, query):
    mask = np.zeros(len(world.catalogue.all_posts()), np.bool_)
    assert case.make(world)(query, mask).tolist() == []
