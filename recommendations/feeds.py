"""
START HERE: every feed and its parts, in the order they run.
"""

from __future__ import annotations

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
    ExplorationBonus,
    Fatigue,
    FollowedAuthor,
    Popularity,
    Quality,
    Recency,
    ShowLess,
    TopicAffinity,
)
from recommendations.pipeline.sources.exploration import Exploration
from recommendations.pipeline.sources.followed import FollowedAuthors
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import Topics
from recommendations.pipeline.sources.vector_index import VectorIndexSource
from recommendations.pipeline.stages import ExplainedFilter, Filter
from recommendations.ports import Catalogue, ColdPosts, Engine, VectorIndex

MANDATORY_FILTERS: tuple[Filter, ...] = (not_removed, visible_to_viewer, not_blocked, safe_for_viewer)
"""What no slate is ever without, whatever the feed: the same functions run again on every slate served."""

# Each of these tells the viewer why a post is missing (`services/explaining/explain.py`): mypy refuses one that cannot.
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
    """Posts beyond the resident ones: where they are found, and where their facts are read."""

    index: VectorIndex
    posts: ColdPosts


def discovery(*, engine: Engine, catalogue: Catalogue, non_resident_posts: NonResidentPosts | None = None) -> Pipeline:
    """What this member is likely to enjoy, from everywhere."""
    return Pipeline(
        catalogue=catalogue,
        sources=(
            Nearest(engine, catalogue),
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
            FollowedAuthor(),
            AuthorAffinity(),
            TopicAffinity(),
            ShowLess(),
            Quality(),
            ExplorationBonus(),
            Fatigue(),
            *((ColdTaste(),) if non_resident_posts else ()),
        ),
        rerankers=(Diversity(engine), ExplorationSlots(), Spacing(), ShowLessLast()),
        engine=engine,
        hydrators=(ColdFacts(non_resident_posts.posts),) if non_resident_posts else (),
    )


def following(*, catalogue: Catalogue) -> Pipeline:
    """The newest of those whom this member follows, and nothing else."""
    return Pipeline(
        catalogue=catalogue,
        sources=(FollowedAuthors(catalogue),),
        filters=(*MANDATORY_FILTERS, *PREFERENCE_FILTERS),
        scorers=(Recency(),),
        rerankers=(),
        engine=None,
    )


def trending(*, catalogue: Catalogue) -> Pipeline:
    """What is popular of late, the same for all but for what they may not or will not see. Needs no engine."""
    return Pipeline(
        catalogue=catalogue,
        sources=(Trending(catalogue), Fresh(catalogue)),
        filters=(*MANDATORY_FILTERS, *PREFERENCE_FILTERS),
        scorers=(Recency(), Popularity(), Quality()),
        rerankers=(Spacing(),),
        engine=None,
    )


def non_personalized(*, catalogue: Catalogue) -> Pipeline:
    """
    What anybody would be shown: no profile is read (`services/serving/query.py`), and no affinity or history is used.

    The viewer's privacy, safety, blocks, mutes and languages hold as everywhere. What they saw may come again: that
    they saw it is something they did.
    """
    return Pipeline(
        catalogue=catalogue,
        sources=(Trending(catalogue), Fresh(catalogue)),
        filters=(*MANDATORY_FILTERS, *NON_PERSONALIZED_FILTERS),
        scorers=(Recency(), Popularity(), Quality()),
        rerankers=(Spacing(),),
        engine=None,
    )


def similar(*, engine: Engine, catalogue: Catalogue) -> Pipeline:
    """Posts like one post, for this viewer: the query's interest is that post's vector."""
    return Pipeline(
        catalogue=catalogue,
        sources=(Nearest(engine, catalogue),),
        filters=(*MANDATORY_FILTERS, *SIMILAR_FILTERS),
        scorers=(),
        rerankers=(),
        engine=engine,
    )
