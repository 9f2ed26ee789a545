"""
START HERE: every feed and its parts, in the order they run.
"""

from __future__ import annotations

from dataclasses import dataclass

from recommendations.pipeline.filters.asked import asked_for
from recommendations.pipeline.filters.freshness import not_excluded, readable, unseen
from recommendations.pipeline.filters.privacy import not_blocked, not_hidden, not_muted, not_own, not_removed, visible
from recommendations.pipeline.filters.safety import safe_for_viewer
from recommendations.pipeline.hydrators.cold import Cold
from recommendations.pipeline.rerankers.diversity import AuditionSlots, Diversity, LessLast, Spacing
from recommendations.pipeline.run import Pipeline
from recommendations.pipeline.scorers.columns import (
    AuditionBonus,
    Author,
    ColdTaste,
    Fatigue,
    Follow,
    Less,
    Popularity,
    Quality,
    Recency,
    Topic,
)
from recommendations.pipeline.sources.audition import Audition
from recommendations.pipeline.sources.followed import Followed
from recommendations.pipeline.sources.indexed import Indexed
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Fresh, Trending
from recommendations.pipeline.sources.topics import Topics
from recommendations.pipeline.stages import ExplainedFilter, Filter
from recommendations.ports import Catalogue, ColdPosts, Engine, VectorIndex

MAY_SEE: tuple[Filter, ...] = (not_removed, visible, not_blocked, safe_for_viewer)
"""What no slate is ever without, whatever the feed: the same functions run again on every slate served."""

# Each of these tells the viewer why a post is missing (`services/explaining/explain.py`): mypy refuses one that cannot.
WANTS: tuple[ExplainedFilter, ...] = (not_hidden, not_muted, not_own, unseen, readable, asked_for)
SIMILAR_WANTS: tuple[ExplainedFilter, ...] = (not_hidden, not_muted, not_own, not_excluded)
NEUTRAL_WANTS: tuple[ExplainedFilter, ...] = (not_hidden, not_muted, not_own, not_excluded, readable, asked_for)


@dataclass(frozen=True)
class Beyond:
    """Posts beyond the resident ones: where they are found, and where their facts are read."""

    index: VectorIndex
    posts: ColdPosts


def discovery(*, engine: Engine, catalogue: Catalogue, beyond: Beyond | None = None) -> Pipeline:
    """What this member is likely to enjoy, from everywhere."""
    return Pipeline(
        catalogue=catalogue,
        sources=(
            Nearest(engine, catalogue),
            Followed(catalogue),
            Topics(catalogue),
            Trending(catalogue),
            Fresh(catalogue),
            Audition(catalogue),
            *((Indexed(beyond.index),) if beyond else ()),
        ),
        filters=(*MAY_SEE, *WANTS),
        scorers=(
            Recency(),
            Popularity(),
            Follow(),
            Author(),
            Topic(),
            Less(),
            Quality(),
            AuditionBonus(),
            Fatigue(),
            *((ColdTaste(),) if beyond else ()),
        ),
        rerankers=(Diversity(engine), AuditionSlots(), Spacing(), LessLast()),
        engine=engine,
        hydrators=(Cold(beyond.posts),) if beyond else (),
    )


def following(*, catalogue: Catalogue) -> Pipeline:
    """The newest of those whom this member follows, and nothing else."""
    return Pipeline(
        catalogue=catalogue,
        sources=(Followed(catalogue),),
        filters=(*MAY_SEE, *WANTS),
        scorers=(Recency(),),
        rerankers=(),
        engine=None,
    )


def trending(*, catalogue: Catalogue) -> Pipeline:
    """What is popular of late, the same for all but for what they may not or will not see. Needs no engine."""
    return Pipeline(
        catalogue=catalogue,
        sources=(Trending(catalogue), Fresh(catalogue)),
        filters=(*MAY_SEE, *WANTS),
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
        filters=(*MAY_SEE, *NEUTRAL_WANTS),
        scorers=(Recency(), Popularity(), Quality()),
        rerankers=(Spacing(),),
        engine=None,
    )


def similar(*, engine: Engine, catalogue: Catalogue) -> Pipeline:
    """Posts like one post, for this viewer: the query's interest is that post's vector."""
    return Pipeline(
        catalogue=catalogue,
        sources=(Nearest(engine, catalogue),),
        filters=(*MAY_SEE, *SIMILAR_WANTS),
        scorers=(),
        rerankers=(),
        engine=engine,
    )
