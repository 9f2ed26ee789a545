"""
The slate that a request pages through: a cached one, a fresh one, or the last good one.

A cached slate that is young enough is served as it is. A stale one is served once more while a worker builds the next.
Otherwise this request builds a slate. If none can be built, the last good slate is served and marked as a fallback.
Every one of them goes through the final check.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import uuid4

import numpy as np
from django.conf import settings
from django.db import DatabaseError

from recommendations.contracts import EMPTY_IDS, Int64Array, Query, Slate
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.services.serving.cursors import CursorPosition, CursorStep, find_passed_posts
from recommendations.services.serving.query import EngineAssignment, load_history
from recommendations.services.serving.ranking import NoSlateError, rank_with_fallback
from recommendations.stores.relational_viewers import Viewer

log = logging.getLogger(__name__)

FALLBACK_FRESH_SECONDS = 10.0
"""How long a slate of a fallback engine counts as fresh: the assigned engine is to be tried again soon."""
FILTERED_FRESH_SECONDS = 30.0
"""
How long, at most, the slate of a filtered feed may be served as it is. Whoever asks for a topic looks for what is new
and popular there now, and no worker builds the next slate meanwhile. Changes the answer.
"""
LAST_GOOD, FRESH_SOURCE = "last_good", "fresh"
CONTINUATION = ":more"
"""Cache key suffix of a slate that continues a feed from a cursor; the feed's own slate has none."""


@dataclass(frozen=True, slots=True)
class CachedSlate:
    """A slate from the slate cache. It has no score parts."""

    slate: Slate
    is_stale: bool = False
    """Whether a worker should build the next one."""


@dataclass(frozen=True, slots=True)
class FreshSlate:
    """A slate that this request built, or the last good one if it could build none."""

    slate: Slate
    trace: Trace
    """How it was built."""
    put: Callable[[], None] | None = None
    """Puts it into the slate cache; None if it must not be cached."""
    earlier_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """(n,) sorted; the posts that the reader had passed before it."""

    def save(self) -> None:
        """Put the slate into the slate cache, if it may be cached."""
        if self.put is not None:
            self.put()


@dataclass(frozen=True, slots=True)
class SlatePosition:
    """A slate, and where in it the page begins."""

    slate_source: CachedSlate | FreshSlate
    offset: int = 0
    earlier_steps: tuple[CursorStep, ...] = ()
    """The slates that the reader went through before this one."""

    @property
    def slate(self) -> Slate:
        """The slate itself."""
        return self.slate_source.slate

    @property
    def cursor_position(self) -> CursorPosition:
        """The same position as a cursor names it."""
        return CursorPosition(self.slate.request_id, self.offset, self.earlier_steps)

    def post_ids(self, count: int) -> Int64Array:
        """Return the ids of the next *count* posts, or of fewer at the end of the slate."""
        return self.slate.post_ids[self.offset : self.offset + count]


def sync_catalogue(now: datetime) -> None:
    """Bring the resident catalogue up to date; if the database cannot be read, the catalogue serves as it is."""
    try:
        wiring.catalogue().refresh(now)
    except DatabaseError:
        log.exception("catalogue_refresh_failed")


def find_slate(
    query: Query, assignment: EngineAssignment, viewer: Viewer, after: CursorPosition | None
) -> SlatePosition:
    """Return the slate to serve and the position in it: a cached slate if there is one to use, else a fresh one."""
    if after:
        return resume(query, assignment, viewer, after)
    (slate,), epoch = wiring.slate_cache().get_many_with_epoch(viewer.id, (query.feed_key,))
    cached = usable_slate(slate, query)
    return SlatePosition(cached or build_fresh_slate(query, assignment, viewer, feed_key=query.feed_key, epoch=epoch))


def usable_slate(slate: Slate | None, query: Query) -> CachedSlate | None:
    """Return a slate from the cache if it may still be served: of the current policy, and fresh or at least stale."""
    if slate is None or not has_current_policy(slate, query):
        return None
    age = query.now - slate.built_at
    if query.feed_filter.key:
        # Workers rebuild whole feeds only, so a filtered one has no successor to wait for.
        return CachedSlate(slate) if is_fresh(slate, query.now) and age < FILTERED_FRESH_SECONDS else None
    if is_fresh(slate, query.now):
        return CachedSlate(slate)
    is_stale = 0 <= age < settings.ENV.slate_stale_seconds
    return CachedSlate(slate, is_stale=True) if is_stale and not slate.fallback else None


def is_fresh(slate: Slate, now: float) -> bool:
    """Return whether a cached slate may be served as it is; *now* in Unix seconds."""
    fresh_seconds = FALLBACK_FRESH_SECONDS if slate.fallback else settings.ENV.slate_fresh_seconds
    return bool(0 <= now - slate.built_at < fresh_seconds)


def has_current_policy(slate: Slate, query: Query) -> bool:
    """Return whether a cached slate was built with the query's variant and policy version."""
    return (slate.variant, slate.policy_version) == (query.variant, query.policy_version)


def resume(query: Query, assignment: EngineAssignment, viewer: Viewer, after: CursorPosition) -> SlatePosition:
    """Resume from a cursor: in the same slate if it is still cached, else in a fresh one without the passed posts."""
    slates, epoch = wiring.slate_cache().get_many_with_epoch(viewer.id, (query.feed_key, query.feed_key + CONTINUATION))
    cached = {slate.request_id: slate for slate in slates if slate is not None}
    same = cached.get(after.request_id)
    if same is not None and after.offset < len(same):
        return SlatePosition(CachedSlate(same), after.offset, after.earlier_steps)
    passed = find_passed_posts(after, viewer.id, {id: slate.post_ids for id, slate in cached.items()})
    query = exclude_posts(query, passed.post_ids)
    fresh = build_fresh_slate(query, assignment, viewer, feed_key=query.feed_key + CONTINUATION, epoch=epoch)
    fresh = replace(fresh, earlier_post_ids=passed.post_ids)
    # The posts of an unknown slate cannot be excluded. Skipping as many posts is the closest, and paging still ends.
    return SlatePosition(fresh, min(passed.unknown_count, len(fresh.slate)), passed.known_steps)


def find_alternative(
    position: SlatePosition, query: Query, assignment: EngineAssignment, viewer: Viewer
) -> SlatePosition | None:
    """
    Return a fresh slate to replace a slate without any pick that passed the final check; None if there are no others.

    The rejected posts are excluded, so that the new slate has other posts. They count as passed: the pages after it do
    not come back to them.
    """
    rejected = position.post_ids(len(position.slate))
    is_exhausted = isinstance(position.slate_source, FreshSlate) and len(position.slate) < query.size
    if not len(rejected) or is_exhausted:
        return None
    passed_ids, known_steps = find_passed_before(position, viewer)
    passed_ids = np.union1d(passed_ids, rejected)
    query = exclude_posts(replace(query, request_id=uuid4()), passed_ids)
    is_start = position.offset == 0 and not position.earlier_steps
    feed_key = query.feed_key if is_start else query.feed_key + CONTINUATION
    epoch = wiring.slate_cache().epoch(viewer.id)
    fresh = build_fresh_slate(query, assignment, viewer, feed_key=feed_key, epoch=epoch)
    fresh = replace(fresh, earlier_post_ids=passed_ids)
    return SlatePosition(fresh, earlier_steps=() if is_start else known_steps)


def find_passed_before(position: SlatePosition, viewer: Viewer) -> tuple[Int64Array, tuple[CursorStep, ...]]:
    """Return the posts that the reader has passed before *position*, sorted, and the steps whose slates are known."""
    source, after = position.slate_source, position.cursor_position
    if isinstance(source, FreshSlate):
        return np.union1d(source.earlier_post_ids, source.slate.post_ids[: position.offset]), after.steps
    passed = find_passed_posts(after, viewer.id, {after.request_id: source.slate.post_ids})
    return passed.post_ids, passed.known_steps


def exclude_posts(query: Query, post_ids: Int64Array) -> Query:
    """Return *query* with more excluded posts."""
    return replace(query, excluded_post_ids=np.union1d(query.excluded_post_ids, post_ids))


def build_fresh_slate(
    query: Query, assignment: EngineAssignment, viewer: Viewer, *, feed_key: str, epoch: bytes
) -> FreshSlate:
    """
    Return a new slate that can be cached under *feed_key*, or the last good slate if none can be built.

    *epoch* is the epoch of the viewer's slates, read before any fact that the slate is built from. What changed before
    the epoch was read may have purged the cache already, and that purge does not repeat. So the viewer's facts are
    read again here: a slate built from older ones would stay in the cache. An empty slate is never cached. Raises
    `FactsUnavailable` if there is no last good slate either, or a filter fails.
    """
    trace = Trace()
    query, viewer = load_history(query, viewer, assignment)
    try:
        slate = build_slate(query, assignment, trace)
    except NoSlateError:
        return FreshSlate(get_last_good(query, viewer), trace)
    if len(slate):
        return FreshSlate(slate, trace, partial(wiring.slate_cache().put, viewer.id, feed_key, slate, epoch))
    return FreshSlate(slate if is_certainly_empty(trace) else get_last_good(query, viewer), trace)


def is_certainly_empty(trace: Trace) -> bool:
    """Return whether an empty slate is empty because there is nothing to show, and not because a source failed."""
    failed = {timing.component for timing in trace.timings if timing.failed and timing.stage == "source"}
    # The source of new posts returns every post up to its limit. If it returns none, no other source could.
    has_fresh_source = any(timing.component == FRESH_SOURCE for timing in trace.timings)
    is_complete = FRESH_SOURCE not in failed if has_fresh_source else not failed
    return is_complete and wiring.catalogue().refreshed_at is not None


def get_last_good(query: Query, viewer: Viewer) -> Slate:
    """Return the last good slate without the excluded posts. Raises `FactsUnavailable` if there is none."""
    slate = wiring.slate_cache().get_last_good(viewer.id, query.feed_key)
    if slate is None:
        raise FactsUnavailable("The feed cannot be built now, and no earlier one is cached. Try again shortly.")
    slate = replace(slate, request_id=query.request_id, fallback=LAST_GOOD)
    return slate.take(~np.isin(slate.post_ids, query.excluded_post_ids))


def build_slate(query: Query, assignment: EngineAssignment, trace: Trace) -> Slate:
    """Rank a slate. Raises `NoSlateError` if every fallback failed, `FactsUnavailable` if a filter failed."""
    try:
        return rank_with_fallback(query, assignment, trace)
    except FilterError as error:
        log.exception("filter_failed", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error
