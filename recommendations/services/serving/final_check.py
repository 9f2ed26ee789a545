"""The final check: the privacy, safety and preference filters run again for every page, on facts that are current."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from django.db import DatabaseError

from recommendations import feeds
from recommendations.contracts import (
    BoolArray,
    CurrentPosts,
    Int64Array,
    PostView,
    Query,
    Reason,
    Slate,
    origins_of,
    reasons_of,
)
from recommendations.pipeline.run import apply_filters
from recommendations.pipeline.stages import ExplainedFilter, Filter, FilterError, Trace
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Prefetch

log = logging.getLogger(__name__)

OWN_PREFERENCE_FILTERS = {"similar": feeds.SIMILAR_FILTERS, "non_personalized": feeds.NON_PERSONALIZED_FILTERS}
"""The preference filters of the feeds that do not have the usual ones."""
RESERVE_SIZE = 10
"""Picks behind a page that are checked together with it, so that dropped picks leave no gaps. Changes the speed."""


class Pick(NamedTuple):
    """A post in a page, with why it is there."""

    post: PostView
    score: float
    reasons: tuple[Reason, ...]
    sources: tuple[str, ...]
    parts: dict[str, float] | None
    """The score parts by name, whose sum is the score; None unless requested."""


class Picks(tuple[Pick, ...]):
    """The picks of a page, in order."""

    @cached_property
    def rendered(self) -> dict[str, Any]:
        """These picks as rendered JSON, by language: a cached page is rendered once for each."""
        return {}


@dataclass(frozen=True, slots=True)
class CheckedPicks:
    """The picks of a slate that passed the final check, and the facts that they were checked on."""

    viewer: Viewer
    facts_versions: tuple[Any, ...]
    """One for each window of the slate that was checked; opaque, like an ETag."""
    views: dict[int, PostView]
    """The posts that were checked, by id."""
    positions: list[int]
    """Where in the slate the picks are."""
    post_ids: list[int]
    picks: Picks
    """Without score parts."""
    next_offset: int
    """Where in the slate the next page begins."""

    def is_current(self, viewer: Viewer) -> bool:
        """Return whether the facts of *viewer* and of the posts are still those that were checked."""
        return self.viewer is viewer and all(map(wiring.resident_facts().is_current, self.facts_versions))


def preference_filters(feed: str) -> tuple[ExplainedFilter, ...]:
    """Return the filters that apply the viewer's own preferences to this feed."""
    return OWN_PREFERENCE_FILTERS.get(feed, feeds.PREFERENCE_FILTERS)


def run_final_check(
    query: Query, slate: Slate, viewer: Viewer, offset: int, limit: int, prefetch: Prefetch | None = None
) -> CheckedPicks:
    """
    Return the first *limit* picks of *slate* from *offset* on that *viewer* may see, on current facts.

    The viewer must have been read in this request; *prefetch* is the batch of queries that also asked for these posts,
    if there was one. A page and its reserve are checked at once, and the next window of the slate only if too few picks
    passed. Raises `FactsUnavailable` if the facts cannot be read or a filter fails.
    """
    filters = (*feeds.MANDATORY_FILTERS, *preference_filters(query.feed))
    positions: list[int] = []
    facts_versions: list[Any] = []
    views: dict[int, PostView] = {}
    while offset < len(slate) and len(positions) < limit:
        window = np.arange(offset, min(offset + limit + RESERVE_SIZE, len(slate)))
        allowed, current = check_posts(
            query, slate.post_ids[window], filters, is_viewer_current=True, prefetch=prefetch
        )
        positions += window[allowed].tolist()
        facts_versions.append(current.facts_version)
        views |= current.views
        offset = int(window[-1]) + 1
    if len(positions) > limit:
        positions, offset = positions[:limit], positions[limit]
    picks = build_picks(slate, positions, views)
    return CheckedPicks(
        viewer, tuple(facts_versions), views, positions, slate.post_ids[positions].tolist(), picks, offset
    )


def check_posts(
    query: Query,
    post_ids: Int64Array,
    filters: tuple[Filter, ...],
    *,
    is_viewer_current: bool = False,
    prefetch: Prefetch | None = None,
) -> tuple[BoolArray, CurrentPosts]:
    """
    Return which of *post_ids* (n,) pass every filter, as a mask (n,), and the facts that they were checked on.

    *is_viewer_current*: this request has just read the viewer's facts, so the change log is not read again. Raises
    `FactsUnavailable` if the facts cannot be read or a filter fails, because posts that were not checked must not be
    shown.
    """
    try:
        current = wiring.resident_facts().read(query, post_ids, is_viewer_current=is_viewer_current, prefetch=prefetch)
        return apply_filters(filters, query, current.candidates, Trace(), stage="final_check"), current
    except (DatabaseError, FilterError) as error:
        log.exception("final_check_failed", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error


def build_picks(slate: Slate, positions: list[int], views: dict[int, PostView], *, explain: bool = False) -> Picks:
    """Return the slate's picks at *positions*; with *explain*, they have score parts if the slate does."""
    has_parts = explain and slate.has_parts
    rows = zip(
        positions,
        slate.post_ids[positions].tolist(),
        slate.scores[positions].tolist(),
        slate.reasons[positions].tolist(),
        slate.origins[positions].tolist(),
        strict=True,
    )
    return Picks(
        Pick(views[id], score, reasons_of(reasons), source_names(origins), score_parts(slate, i) if has_parts else None)
        for i, id, score, reasons, origins in rows
    )


@cache
def source_names(bits: int) -> tuple[str, ...]:
    """Return the names of the sources whose bits are set."""
    return tuple(origin.name.lower() for origin in origins_of(bits))


def score_parts(slate: Slate, position: int) -> dict[str, float]:
    """Return the score parts of the pick at *position*, by name."""
    return dict(zip(slate.part_names, slate.parts[position].tolist(), strict=True))
