"""
The slate that a request pages through: one that is kept, or a fresh one, or at the last the one that was good last.

In order: fresh enough, it is served. Stale, it is served once more while a worker makes the next. Otherwise it is made
here. If nothing can be made, the last good one is served, and says so. All of them go through the last look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import numpy as np
from django.conf import settings
from django.db import DatabaseError

from recommendations.contracts import Query, Slate
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.services.serving.cursors import Place, read_before
from recommendations.services.serving.query import Choice, with_history
from recommendations.services.serving.ranking import SlateLost, rank
from recommendations.stores.relational_viewers import Viewer

log = logging.getLogger(__name__)

FALLBACK_FRESH_SECONDS = 10.0
"""A slate that a fallback made is kept this long only: the chosen engine is tried again soon."""
LAST_GOOD, FRESH = "last_good", "fresh"
MORE = ":more"
"""What a later part of a reading is kept as, beside the feed's own slate: it begins where the reader was."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A slate, and where in it a request reads."""

    slate: Slate
    offset: int = 0
    before: tuple[tuple[UUID, int], ...] = ()
    """The slates that this reading went through earlier, and how far."""
    trace: Trace | None = None
    """How the slate was made; None: it was kept."""
    is_stale: bool = False
    """Whether the next one should be made by now."""
    keep: Callable[[], None] | None = None
    """Keeps a fresh slate for the next request."""


def follow_catalogue(now: datetime) -> None:
    """Have the catalogue follow the database; if it cannot be read, what is resident must do."""
    try:
        wiring.catalogue().refresh(now)
    except DatabaseError:
        log.exception("catalogue_not_followed")


def reading_for(query: Query, choice: Choice, viewer: Viewer, place: Place | None) -> Reading:
    """Return the slate to read, and where in it."""
    if place:
        return goes_on(query, choice, viewer, place)
    (kept,), epoch = wiring.slates().look_up(viewer.id, (query.kept_as,))
    if kept is not None and is_of(kept, query):
        if is_fresh(kept, query.now):
            return Reading(kept)
        # A worker makes the feed itself anew, and not what one request wanted of it.
        if (
            0 <= query.now - kept.built_at < settings.ENV.slate_stale_seconds
            and not kept.fallback
            and not query.only.key
        ):
            return Reading(kept, is_stale=True)
    trace = Trace()
    slate, keep = made(query, choice, viewer, trace, kept_as=query.kept_as, epoch=epoch)
    return Reading(slate, trace=trace, keep=keep)


def is_fresh(slate: Slate, now: float) -> bool:
    """Return whether a kept slate may be served as it is."""
    fresh_seconds = FALLBACK_FRESH_SECONDS if slate.fallback else settings.ENV.slate_fresh_seconds
    return bool(0 <= now - slate.built_at < fresh_seconds)


def is_of(slate: Slate, query: Query) -> bool:
    """Return whether a kept slate was made by today's variant and policy."""
    return (slate.variant, slate.policy_version) == (query.variant, query.policy_version)


def goes_on(query: Query, choice: Choice, viewer: Viewer, place: Place) -> Reading:
    """Return where a reading stands: in the slate it stood in, or in a fresh one without whatever it passed."""
    kept, epoch = wiring.slates().look_up(viewer.id, (query.kept_as, query.kept_as + MORE))
    for slate in kept:
        if slate is not None and slate.request_id == place.request_id and place.offset < len(slate):
            return Reading(slate, place.offset, place.before)
    told = {slate.request_id: slate.post_ids for slate in kept if slate is not None}
    passed, untold, before = read_before(place, viewer.id, told)
    query = replace(query, excluded_post_ids=np.union1d(query.excluded_post_ids, passed))
    trace = Trace()
    slate, keep = made(query, choice, viewer, trace, kept_as=query.kept_as + MORE, epoch=epoch)
    # If nothing tells what was shown, the same place in a fresh slate is the nearest to it: the pages still end.
    return Reading(slate, min(untold, len(slate)), before, trace, keep=keep)


def instead(reading: Reading, query: Query, choice: Choice, viewer: Viewer) -> Reading | None:
    """
    Return another slate to read in place of one of which nothing may be shown; None if there is nothing else.

    What the last look has just refused is left out of it, so that it reaches further.
    """
    refused = reading.slate.post_ids[reading.offset :]
    if not len(refused) or (reading.trace is not None and len(reading.slate) < query.size):
        return None
    place = Place(reading.slate.request_id, reading.offset, reading.before)
    passed, _, before = read_before(place, viewer.id, {place.request_id: reading.slate.post_ids})
    excluded = np.union1d(query.excluded_post_ids, np.union1d(passed, refused))
    query = replace(query, request_id=uuid4(), excluded_post_ids=excluded)
    trace = Trace()
    is_start = not place.before and place.offset == 0
    kept_as = query.kept_as if is_start else query.kept_as + MORE
    slate, keep = made(query, choice, viewer, trace, kept_as=kept_as, epoch=wiring.slates().epoch(viewer.id))
    return Reading(slate, 0, () if is_start else before, trace, keep=keep)


def made(
    query: Query, choice: Choice, viewer: Viewer, trace: Trace, *, kept_as: str, epoch: bytes
) -> tuple[Slate, Callable[[], None] | None]:
    """
    Return a fresh slate, and what keeps it; if none can be made, the last good one. An empty one is not to be kept.

    *epoch* is that of the viewer's slates before anything is read that the slate is made from: what changed since the
    request began is asked for again, or a slate of what the viewer liked before would be kept after its purge.
    """
    query, viewer = with_history(query, viewer, choice)
    try:
        slate = build_slate(query, choice, trace)
    except SlateLost:
        slate = None
    if slate is None or (not len(slate) and not is_sure(trace)):
        return last_good(query, viewer), None
    keep = partial(wiring.slates().put, viewer.id, kept_as, slate, epoch) if len(slate) else None
    return slate, keep


def is_sure(trace: Trace) -> bool:
    """Return whether a slate that came out empty is empty because there is nothing to show."""
    failed = {timing.part for timing in trace.timings if timing.failed and timing.stage == "source"}
    # What is new is everything there is, up to a limit: where that source found nothing, the others could not.
    tried_all = any(timing.part == FRESH for timing in trace.timings)
    is_whole = FRESH not in failed if tried_all else not failed
    return is_whole and wiring.catalogue().refreshed_at is not None


def last_good(query: Query, viewer: Viewer) -> Slate:
    """Return the slate that was good last, without what this reading passed; refuse if there is none."""
    slate = wiring.slates().last_good(viewer.id, query.kept_as)
    if slate is None:
        raise FactsUnavailable("No feed can be made now, and none is kept. Try again shortly.")
    slate = replace(slate, request_id=query.request_id, fallback=LAST_GOOD)
    return slate.take(~np.isin(slate.post_ids, query.excluded_post_ids))


def build_slate(query: Query, choice: Choice, trace: Trace) -> Slate:
    """Return a fresh slate; if a filter fails, nothing."""
    try:
        return rank(query, choice, trace)
    except FilterError as error:
        log.exception("slate_lost", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error
