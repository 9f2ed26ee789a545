"""The last look: the privacy, safety and seen filters run again on every page, on facts that hold at that moment."""

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
    Int64Array,
    Looked,
    PostView,
    Query,
    Reason,
    Slate,
    origins_of,
    reasons_of,
)
from recommendations.pipeline.run import keep
from recommendations.pipeline.stages import Filter, FilterError, Trace
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Inquiry

log = logging.getLogger(__name__)

WANTS = {"similar": feeds.SIMILAR_WANTS, "non_personalized": feeds.NEUTRAL_WANTS}
RESERVE = 10
"""Picks behind a page that are looked at with it, so that drops leave no gaps. Changes the speed."""


class Pick(NamedTuple):
    """A post in a page, with why it is there."""

    post: PostView
    score: float
    reasons: tuple[Reason, ...]
    sources: tuple[str, ...]
    parts: dict[str, float] | None
    """What the score is the sum of; None unless asked for."""


class Picks(tuple[Pick, ...]):
    """The picks of a page, in order."""

    @cached_property
    def rendered(self) -> dict[str, Any]:
        """What doors made of these picks, by the door's own word: a page that is shown again is put into words once."""
        return {}


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a part of a slate let through, and what it went by."""

    viewer: Viewer
    bases: tuple[Any, ...]
    views: dict[int, PostView]
    shown: list[int]
    """Places in the slate."""
    post_ids: list[int]
    """Of the posts shown."""
    picks: Picks
    """Without the parts of their scores."""
    end: int
    """Where in the slate to go on."""

    def holds(self, viewer: Viewer) -> bool:
        """Return whether it would be the same now: nothing that it went by has changed."""
        return self.viewer is viewer and all(map(wiring.facts().hold, self.bases))


def look(query: Query, slate: Slate, viewer: Viewer, offset: int, limit: int, inquiry: Inquiry | None = None) -> Sight:
    """
    Return the first *limit* picks of *slate* from *offset* on that may be shown to the *viewer*, as of now.

    *inquiry*: what this request has asked of them. Looks at a page and its reserve; further only if drops have eaten
    the reserve. The end is that of the slate if nothing behind it may be shown, as far as was looked.
    """
    filters = (*feeds.MAY_SEE, *WANTS.get(query.feed, feeds.WANTS))
    shown: list[int] = []
    bases: list[Any] = []
    views: dict[int, PostView] = {}
    while offset < len(slate):
        window = np.arange(offset, min(offset + limit + RESERVE, len(slate)))
        allowed, found = last_look(query, slate.post_ids[window], filters, is_now=True, inquiry=inquiry)
        shown += window[allowed].tolist()
        bases.append(found.basis)
        views |= found.views
        offset = int(window[-1]) + 1
        if len(shown) > limit:
            shown, offset = shown[:limit], shown[limit]
            break
        if len(shown) == limit:
            break
    post_ids = slate.post_ids[shown].tolist()
    return Sight(viewer, tuple(bases), views, shown, post_ids, picks_of(slate, shown, views), offset)


def last_look(
    query: Query,
    post_ids: Int64Array,
    filters: tuple[Filter, ...],
    *,
    is_now: bool = False,
    inquiry: Inquiry | None = None,
) -> tuple[BoolArray, Looked]:
    """
    Return which posts may be shown, and what they were judged by; fail closed.

    *is_now* says that the viewer's facts were read a moment ago: the change log was asked then, and is not again.
    """
    try:
        looked = wiring.facts().read(query, post_ids, is_now=is_now, inquiry=inquiry)
        return keep(filters, query, looked.candidates, Trace(), stage="last_look"), looked
    except (DatabaseError, FilterError) as error:
        log.exception("last_look_failed", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error


def picks_of(slate: Slate, shown: list[int], views: dict[int, PostView], *, explain: bool = False) -> Picks:
    """Return the slate's picks at *shown*; *explain*: with the parts of their scores, where they are there."""
    has_parts = explain and slate.has_parts
    rows = zip(
        shown,
        slate.post_ids[shown].tolist(),
        slate.scores[shown].tolist(),
        slate.reasons[shown].tolist(),
        slate.origins[shown].tolist(),
        strict=True,
    )
    return Picks(
        Pick(views[id], score, reasons_of(reasons), source_names(origins), parts_of(slate, i) if has_parts else None)
        for i, id, score, reasons, origins in rows
    )


@cache
def source_names(bits: int) -> tuple[str, ...]:
    """Return the names of the sources whose bits are set."""
    return tuple(origin.name.lower() for origin in origins_of(bits))


def parts_of(slate: Slate, i: int) -> dict[str, float]:
    """Return what the score of the pick at *i* is the sum of."""
    return dict(zip(slate.part_names, slate.parts[i].tolist(), strict=True))
