"""START HERE: every feed, with its components in the order they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recommendations.pipeline.filters.feed_filter import matches_feed_filter
from recommendations.pipeline.filters.freshness import in_readable_language, not_excluded, not_seen
from recommendations.pipeline.filters.privacy import (
    not_blocked,
    not_hidden,
    not_muted,
    not_own,
    not_removed,
    visible_to_viewer,
)
from recommendations.pipeline.filters.safety import safe_for_viewer
from recommendations.pipeline.hydrators.cold_facts import ColdFacts
from recommendations.pipeline.rerankers.ordering import Diversity, ExplorationSlots, ShowLessLast, Spacing
from recommendations.pipeline.run import Pipeline
from recommendations.pipeline.scorers.score_parts import (
    AuthorAffinity,
    ColdTaste,
    Collaborative,
    ExplorationBonus,
    Fatigue,
    FewLikesPopularity,
    FollowedAuthor,
    Popularity,
    Quality,
    Recency,
    ShowLess,
    TopicAffinity,
    Trend,
    YearPopularity,
)
from recommendations.pipeline.sources.collaborative import PARTS
from recommendations.pipeline.sources.collaborative import Collaborative as CollaborativeSource
from recommendations.pipeline.sources.exploration import Exploration
from recommendations.pipeline.sources.followed import FollowedAuthors
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import Topics
from recommendations.pipeline.sources.vector_index import VectorIndexSource
from recommendations.pipeline.stages import ExplainedFilter, Filter, Reranker
from recommendations.ports import Catalogue, ColdPosts, Engine, VectorIndex

MANDATORY_FILTERS: tuple[Filter, ...] = (not_removed, visible_to_viewer, not_blocked, safe_for_viewer)
"""Filters that every feed has. The final check runs the same functions again on every page."""

# Explanations use the sentence of each of these filters (`services/explaining/explain.py`). The type requires one.
PREFERENCE_FILTERS: tuple[ExplainedFilter, ...] = (
    not_hidden,
    not_muted,
    not_own,
    not_seen,
    in_readable_language,
    matches_feed_filter,
)
SIMILAR_FILTERS: tuple[ExplainedFilter, ...] = (not_hidden, not_muted, not_own, not_excluded)
NON_PERSONALIZED_FILTERS: tuple[ExplainedFilter, ...] = (
    not_hidden,
    not_muted,
    not_own,
    not_excluded,
    in_readable_language,
    matches_feed_filter,
)


@dataclass(frozen=True)
class NonResidentPosts:
    """The index that finds non-resident posts, and the store that reads their facts."""

    index: VectorIndex
    posts: ColdPosts


COLLABORATIVE_SCORERS = tuple(Collaborative(name) for name in PARTS.values())


def collaborative_sources(catalogue: Catalogue) -> tuple[CollaborativeSource, ...]:
    """Return the source of each collaborative part."""
    return tuple(CollaborativeSource(origin, catalogue) for origin in PARTS)


def discovery_rerankers(engine: Engine) -> Sequence[Reranker]:
    """Return the rerankers of the discovery feed."""
    return (Diversity(engine), ExplorationSlots(), Spacing(), ShowLessLast())


def discovery(*, engine: Engine, catalogue: Catalogue, non_resident_posts: NonResidentPosts | None = None) -> Pipeline:
    """Return the feed of posts that the member is likely to enjoy, from all sources."""
    return Pipeline(
        catalogue=catalogue,
        sources=(
            Nearest(engine, catalogue),
            *collaborative_sources(catalogue),
            FollowedAuthors(catalogue),
            Topics(catalogue),
            Trending(catalogue),
            Fresh(catalogue),
            Exploration(catalogue),
            *((VectorIndexSource(non_resident_posts.index),) if non_resident_posts else ()),
        ),
        filters=(*MANDATORY_FILTERS, *PREFERENCE_FILTERS),
        scorers=(
            Recency(),
            Popularity(),
            YearPopularity(),
            FewLikesPopularity(),
            Trend(),
            FollowedAuthor(),
            AuthorAffinity(),
            TopicAffinity(),
            ShowLess(),
            Quality(),
            ExplorationBonus(),
            Fatigue(),
            *COLLABORATIVE_SCORERS,
            *((ColdTaste(),) if non_resident_posts else ()),
        ),
        rerankers=discovery_rerankers(engine),
        engine=engine,
        hydrators=(ColdFacts(non_resident_posts.posts),) if non_resident_posts else (),
    )


def following(*, catalogue: Catalogue) -> Pipeline:
    """Return the feed of the newest posts by authors whom the member follows."""
    return Pipeline(
        catalogue=catalogue,
        sources=(FollowedAuthors(catalogue),),
        filters=(*MANDATORY_FILTERS, *PREFERENCE_FILTERS),
        scorers=(Recency(),),
        rerankers=(),
        engine=None,
    )


def trending(*, catalogue: Catalogue) -> Pipeline:
    """
    Return the feed of trending posts: the same for all members, except for the filters. It uses no engine.

    Where nothing trends, the part of the trend is 0, so the feed has the posts that are popular at any time.
    """
    return Pipeline(
        catalogue=catalogue,
        sources=(Trending(catalogue), Fresh(catalogue)),
        filters=(*MANDATORY_FILTERS, *PREFERENCE_FILTERS),
        scorers=(Recency(), Popularity("trending_popularity"), YearPopularity(), Trend(), Quality()),
        rerankers=(Spacing(),),
        engine=None,
    )


def non_personalized(*, catalogue: Catalogue) -> Pipeline:
    """
    Return the feed without a profile: no interests, affinity or history is read (`services/serving/query.py`).

    The viewer's privacy, safety, block, mute and language settings apply as in every feed. Posts that the viewer has
    seen may appear again, because seen posts are part of the history.
    """
    return Pipeline(
        catalogue=catalogue,
        sources=(Trending(catalogue), Fresh(catalogue)),
        filters=(*MANDATORY_FILTERS, *NON_PERSONALIZED_FILTERS),
        scorers=(Recency(), Popularity("trending_popularity"), YearPopularity(), Trend(), Quality()),
        rerankers=(Spacing(),),
        engine=None,
    )


def similar(*, engine: Engine, catalogue: Catalogue) -> Pipeline:
    """
    Return the feed of posts similar to one post, by content and by what members like together with it.

    The query's only interest is the vector of that post, and its only reaction is a like of it.
    """
    return Pipeline(
        catalogue=catalogue,
        sources=(Nearest(engine, catalogue), *collaborative_sources(catalogue)),
        filters=(*MANDATORY_FILTERS, *SIMILAR_FILTERS),
        scorers=COLLABORATIVE_SCORERS,
        rerankers=(),
        engine=engine,
    )
