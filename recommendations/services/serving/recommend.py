"""
A page of a member's feed.

A request reads facts from the database at three moments, and `recommend()` has one section for each:

1. **Prefetch.** First of all, the request sends one batch of queries: what the change log has recorded since this
   process last read it, and the facts of the viewer that this process has not cached. While the database works, the
   request does what needs no facts. The answer evicts from this process every fact that has changed. If no fact that a
   cached page was checked on has been evicted, the page is served again, without moments 2 and 3.
2. **Slate.** A slate from the slate cache is used as it is. If one must be ranked, the request has read the epoch of
   the viewer's slates; it then reads the log again, and what ranking needs: seen posts, interests, negative feedback.
3. **Final check.** The privacy, safety and preference filters run on the page. Ranking takes a while, so after it the
   log is read once more, together with the posts of the page that are not cached. A slate from the cache needs no
   ranking: hardly any time has passed since moment 1, and the page is checked on the viewer's facts of that moment.

The change log guarantees that a change is in the log once it is committed: triggers write the entry in the transaction
of the change, for every writer. So at each moment a cached fact is either as the database has it, or evicted and read
again. Between two moments nothing is guaranteed: a change that is committed there is unknown until the next one. Where
the log cannot be relied on (in a transaction, or if a trigger is missing), nothing is cached: each moment reads rows.

What breaks without a moment:

- Without moment 1, cached pages and slates would be checked on the facts of an earlier request. A member whom the
  viewer has blocked since then would still be shown.
- Without the read in moment 2, a slate could be ranked on interests from before the epoch, such as interests that have
  been reset. The purge that came with the reset is over by then, so the slate would stay in the cache.
- Without moment 3, a cached slate would show posts that were hidden or removed since it was built, and a fresh slate
  would show posts that were hidden while it was ranked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from recommendations.contracts import NON_PERSONALIZED, EmptyReason, Query, Slate
from recommendations.services import wiring
from recommendations.services.errors import InvalidRequest
from recommendations.services.serving import records
from recommendations.services.serving.cursors import read_cursor, write_cursor
from recommendations.services.serving.feed_metrics import count_failures, record_page_metrics, record_slate_metrics
from recommendations.services.serving.final_check import RESERVE_SIZE, CheckedPicks, build_picks, run_final_check
from recommendations.services.serving.inputs import has_stored_inputs, pack_inputs
from recommendations.services.serving.pages import CheckedPage, Page, page_cache
from recommendations.services.serving.query import (
    NO_FILTERS,
    EngineAssignment,
    FeedFilters,
    assign_engine,
    build_query,
    get_viewer,
    prefetch_facts,
    refresh_query,
    resolve_filters,
)
from recommendations.services.serving.refresh import enqueue_refresh
from recommendations.services.serving.slates import (
    CachedSlate,
    FreshSlate,
    SlatePosition,
    find_alternative,
    find_slate,
    sync_catalogue,
)
from recommendations.services.serving.visibility import follows_visible_member
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Prefetch

FEEDS = ("discovery", "following", "trending", "non_personalized")
MAX_LIMIT = 100
MAX_ALTERNATIVES = 5
"""Slates to build for one page after one without any pick that passed the final check. Changes the answer."""


@count_failures
@wiring.pin_embedding_models
def recommend(
    *,
    member_id: str,
    feed: str = "discovery",
    limit: int = 20,
    cursor: str | None = None,
    explain: bool = False,
    filters: FeedFilters = NO_FILTERS,
    assignment: EngineAssignment | None = None,
    prefetch: Prefetch | None = None,
    now: datetime,
) -> Page:
    """
    Return up to *limit* posts of *feed* for the member, after the position of *cursor*.

    *explain* adds score parts. *filters* accept only some posts, in this request only. *assignment* replaces what the
    flag gives. *prefetch* is the result of `prefetch_facts`, if the caller could send the queries earlier. Raises a
    `ServiceError`.
    """
    started_at = perf_counter()
    validate_request(feed, limit)
    after = read_cursor(cursor) if cursor else None
    is_cacheable = after is None and not explain and filters == NO_FILTERS and assignment is None

    # Moment 1: send the queries about the viewer, and meanwhile do the work that needs no facts.
    prefetch = prefetch or prefetch_facts(member_id=member_id)
    cached_page = page_cache().get(member_id, feed, limit, now.timestamp()) if is_cacheable else None
    assignment = assignment or (None if cached_page else assign_engine(member_id))
    viewer = get_viewer(now, member_id=member_id, prefetch=prefetch)

    # Shortcut: nothing that the cached page depends on has changed.
    if is_cacheable and (current_page := page_cache().confirm(cached_page, viewer)):
        record_request(current_page, current_page.assignment, now, started_at, limit=limit)
        return current_page.page

    # Moment 2: take the slate from the cache, or rank one.
    assignment = assignment or assign_engine(member_id)
    query = build_filtered_query(viewer, assignment, feed, filters, now)
    position = find_slate(query, assignment, viewer, after)

    # Moment 3: run the final check on current facts. If no pick passes, an alternative slate may have others.
    served = check_page(query, position, viewer, assignment, limit=limit, explain=explain)
    for _ in range(MAX_ALTERNATIVES):
        if served.checked.positions:
            break
        alternative = find_alternative(served.position, query, assignment, viewer)
        if alternative is None:
            break
        served = check_page(query, alternative, viewer, assignment, limit=limit, explain=explain)

    # Bookkeeping.
    update_caches(served, assignment, limit=limit, is_cacheable=is_cacheable)
    record_request(served, assignment, now, started_at, limit=limit)
    return served.page


def validate_request(feed: str, limit: int) -> None:
    """Raise `InvalidRequest` if there is no such feed, or a page cannot have this many posts."""
    if feed not in FEEDS:
        raise InvalidRequest(f"There is no feed {feed!r}; there are {', '.join(FEEDS)}.", "/feed")
    validate_limit(limit)


def validate_limit(limit: int) -> None:
    """Raise `InvalidRequest` if a page cannot have this many posts."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"A page has 1 to {MAX_LIMIT} posts, not {limit}.", "/limit")


# Moment 2


def build_filtered_query(
    viewer: Viewer, assignment: EngineAssignment, feed: str, filters: FeedFilters, now: datetime
) -> Query:
    """Bring the catalogue up to date, and return the query for the posts that *filters* accept."""
    sync_catalogue(now)
    feed_filter, excluded = resolve_filters(filters, now)
    return build_query(viewer, assignment, feed=feed, now=now, feed_filter=feed_filter, excluded_post_ids=excluded)


# Moment 3


def check_page(
    query: Query,
    position: SlatePosition,
    viewer: Viewer,
    assignment: EngineAssignment,
    *,
    limit: int,
    explain: bool,
) -> CheckedPage:
    """
    Return the page at *position*, with the picks that pass the final check on current facts.

    A fresh slate is put into the slate cache while the database answers. Raises `FactsUnavailable`.
    """
    prefetch, slate = None, position.slate
    if isinstance(position.slate_source, FreshSlate):
        prefetch = prefetch_facts(pk=viewer.id, post_ids=position.post_ids(limit + RESERVE_SIZE).tolist())
        position.slate_source.save()
        query, viewer = refresh_query(query, viewer, assignment, prefetch)
    elif explain:
        slate = add_recorded_parts(slate, viewer)
    checked = run_final_check(query, slate, viewer, position.offset, limit, prefetch)
    return CheckedPage(build_page(query, slate, position, checked, explain=explain), position, checked)


def add_recorded_parts(slate: Slate, viewer: Viewer) -> Slate:
    """Return a cached slate with the score parts that were recorded when it was built."""
    row, _ = records.find_slate_row(slate.request_id, viewer.id)
    if row is None or bytes(row.post_ids) != slate.post_ids.astype("<i8").tobytes():
        return slate
    names, parts = row.part_names, np.frombuffer(bytes(row.parts), "<f4")
    return replace(slate, part_names=tuple(names), parts=parts.reshape(len(slate), len(names)))


def build_page(query: Query, slate: Slate, position: SlatePosition, checked: CheckedPicks, *, explain: bool) -> Page:
    """Return the page with the checked picks."""
    return Page(
        request_id=slate.request_id,
        member_id=checked.viewer.external_id,
        feed=query.feed,
        engine=slate.engine,
        variant=slate.variant,
        fallback=slate.fallback,
        is_cached=isinstance(position.slate_source, CachedSlate),
        built_at=datetime.fromtimestamp(slate.built_at, UTC),
        candidate_count=slate.candidate_count,
        picks=build_picks(slate, checked.positions, checked.views, explain=True) if explain else checked.picks,
        next_cursor=next_cursor(query, position, checked.next_offset),
        empty_reason=None if checked.positions else find_empty_reason(query, position),
        positions=tuple(checked.positions),
        earlier_steps=position.earlier_steps,
        languages=checked.viewer.languages,
    )


def find_empty_reason(query: Query, position: SlatePosition) -> EmptyReason:
    """Return why the page at *position* has no picks."""
    if position.offset or position.earlier_steps:
        return EmptyReason.END_OF_FEED
    if query.feed == "following" and not follows_visible_member(query.viewer_id):
        return EmptyReason.NO_FOLLOWS
    if query.feed_filter.key:
        return EmptyReason.REQUEST_FILTERS
    return EmptyReason.NO_POSTS if query.feed in FEEDS else EmptyReason.NO_MATCH


def next_cursor(query: Query, position: SlatePosition, next_offset: int) -> str | None:
    """Return the cursor of the next page. None at the end of a slate that is not full, and for what has one page."""
    if query.feed not in FEEDS:
        return None
    full_size = min(query.size, query.policy.followed_candidates) if query.feed == "following" else query.size
    is_full = len(position.slate) >= max(full_size, 1)
    if not is_full and next_offset >= len(position.slate):
        return None
    return write_cursor(position.slate.request_id, next_offset, position.earlier_steps)


# Bookkeeping


def update_caches(served: CheckedPage, assignment: EngineAssignment, *, limit: int, is_cacheable: bool) -> None:
    """Have a worker rebuild the slate if it is stale; otherwise cache the page, if it is cacheable and has posts."""
    slate_source = served.position.slate_source
    if isinstance(slate_source, CachedSlate) and slate_source.is_stale:
        enqueue_refresh(served.checked.viewer.id, served.page.feed)
    elif is_cacheable and served.checked.positions:
        page_cache().put(served, assignment, limit=limit)


def record_request(
    served: CheckedPage, assignment: EngineAssignment, now: datetime, started_at: float, *, limit: int
) -> None:
    """Queue records of the page and of a fresh slate, and record their metrics. Done for every page that is served."""
    seconds = perf_counter() - started_at
    slate_source, count = served.position.slate_source, len(served.checked.positions)
    slate_records = (
        build_slate_records(slate_source, served, 1000 * seconds, now) if isinstance(slate_source, FreshSlate) else []
    )
    queue_page_records(slate_records, served, assignment, now.timestamp())
    outcome = cache_outcome(slate_source)
    record_page_metrics(
        served.page.feed, slate_source.slate, outcome, seconds, is_full=count == limit, is_empty=not count
    )
    if isinstance(slate_source, FreshSlate):
        record_slate_metrics(slate_source.slate, slate_source.trace, seconds)


def cache_outcome(slate_source: CachedSlate | FreshSlate) -> str:
    """Return the outcome of the slate cache for metrics: hit, stale or miss."""
    if isinstance(slate_source, FreshSlate):
        return "miss"
    return "stale" if slate_source.is_stale else "hit"


def build_slate_records(fresh: FreshSlate, served: CheckedPage, duration_ms: float, now: datetime) -> list[bytes]:
    """
    Return the record of a fresh slate and, for some requests, of the inputs that it was ranked from.

    The slate is also kept for the requests that come before a worker has written the record.
    """
    slate, viewer_id = fresh.slate, served.checked.viewer.id
    slate_records = records.keep_slate(
        slate,
        viewer_id,
        served.page.feed,
        duration_ms,
        earlier_post_ids=fresh.earlier_post_ids,
        page_post_ids=served.checked.post_ids,
        now=now,
    )
    if fresh.trace.inputs and has_stored_inputs(slate.request_id):
        packed = pack_inputs(*fresh.trace.inputs)
        slate_records.append(records.inputs_record(slate.request_id, slate.built_at, packed))
    return slate_records


def queue_page_records(
    slate_records: list[bytes], served: CheckedPage, assignment: EngineAssignment, timestamp: float
) -> None:
    """Queue the records of a page with those of its slate and, once for each member and phase, of an exposure."""
    viewer_id, offset, post_ids = served.checked.viewer.id, served.position.offset, served.checked.post_ids
    page_record = records.page_record(served.page.request_id, viewer_id, offset, post_ids, timestamp)
    exposure = build_exposure(served, assignment, timestamp)
    records.queue_records(*slate_records, page_record, exposure=exposure)


def build_exposure(
    served: CheckedPage, assignment: EngineAssignment, timestamp: float
) -> tuple[bytes, records.ExposureKey] | None:
    """Return the record and key of the viewer's exposure to an experiment; None if there is none, or it is queued."""
    exposed_variant, viewer = assignment.exposed_variant, served.checked.viewer
    if exposed_variant is None or served.page.feed == NON_PERSONALIZED or not viewer.is_personalized:
        return None
    key = (exposed_variant.phase_id, viewer.id)
    if key in records.queued_exposures:
        return None
    return records.exposure_record(exposed_variant, viewer.id, viewer.external_id, timestamp), key
