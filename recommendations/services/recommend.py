"""
A page of a member's feed: from the slate that is kept, or a fresh one, and always after the last look.

The last look runs the privacy, safety and seen filters again, on rows read now: a block made a second ago holds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import DatabaseError

from recommendations import feeds
from recommendations.contracts import (
    BoolArray,
    Int64Array,
    PostView,
    Query,
    Reason,
    Slate,
    origins_of,
    reasons_of,
)
from recommendations.models import FeedRequest
from recommendations.pipeline.run import keep
from recommendations.pipeline.stages import Filter, FilterError, Trace
from recommendations.services import recording, wiring
from recommendations.services.cursors import read_cursor, write_cursor
from recommendations.services.errors import FactsUnavailable, InvalidRequest
from recommendations.services.observing import counted, observe_page
from recommendations.services.refresh import ask_for
from recommendations.services.replay import is_kept, pack_inputs
from recommendations.services.slates import Reading, follow_catalogue, instead, reading_for
from recommendations.services.viewing import Choice, Narrow, choose, known_viewer, narrowed, query_of
from recommendations.stores.relational_viewers import Viewer

log = logging.getLogger(__name__)

FEEDS = ("discovery", "following", "trending", "non_personalized")
WANTS = {"similar": feeds.SIMILAR_WANTS, "non_personalized": feeds.NEUTRAL_WANTS}
MAX_LIMIT = 100
NO_NARROW = Narrow()
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


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a slate, in order."""

    request_id: UUID
    member_id: str
    feed: str
    engine: str
    variant: str
    fallback: str
    cached: bool
    built_at: datetime
    candidates: int
    picks: tuple[Pick, ...]
    next_cursor: str | None
    positions: tuple[int, ...] = ()
    """Of the picks, in the slate."""
    before: tuple[tuple[UUID, int], ...] = ()
    """The slates that this reading went through earlier, and how far."""


@counted
@wiring.by_one_model
def recommend(
    *,
    member_id: str,
    feed: str = "discovery",
    limit: int = 20,
    cursor: str | None = None,
    explain: bool = False,
    narrow: Narrow = NO_NARROW,
    choice: Choice | None = None,
    now: datetime,
) -> Page:
    """
    Return up to *limit* posts of *feed* for the member, after those that *cursor* stands for.

    *explain* gives the parts of each score; of a slate that was kept, those recorded with it (a second after it was
    made; until then there are none). *narrow* brings only some posts, and is not remembered. *choice* serves
    them in place of what the flag says. Raises a `ServiceError` that says why not.
    """
    checked(feed, limit)
    place = read_cursor(cursor) if cursor else None
    viewer = known_viewer(now, member_id=member_id)
    choice = choice or choose(member_id)
    follow_catalogue(now)
    start = perf_counter()
    only, excluded = narrowed(narrow, now)
    query = query_of(viewer, choice, feed=feed, now=now, only=only, excluded=excluded)
    reading = reading_for(query, choice, viewer, place)
    page, shown = page_of(query, reading, viewer, limit=limit, explain=explain)
    if not shown and (other := instead(reading, query, choice, viewer)):
        reading = other
        page, shown = page_of(query, reading, viewer, limit=limit, explain=explain)
    if reading.is_stale:
        ask_for(viewer.id, feed)
    slate, trace, seconds = reading.slate, reading.trace, perf_counter() - start
    made = [] if trace is None else records_of(slate, trace, viewer, feed, seconds * 1000)
    shows = recording.page_record(slate.request_id, viewer.id, reading.offset, shown, query.now)
    note(query, viewer, choice, [*made, shows])
    observe_page(query, reading, seconds, shown=len(shown), limit=limit)
    return page


def note(query: Query, viewer: Viewer, choice: Choice, records: list[bytes]) -> None:
    """Queue what is to be written of a page; with it, once, that the member meets the variant of an experiment."""
    exposed = choice.exposed if query.uses_history else None
    if exposed is None or (exposed.phase_id, viewer.id) in recording.told:
        recording.record(*records)
        return
    met = recording.exposure_record(exposed, viewer.id, viewer.external_id, query.now)
    if recording.record(*records, met):
        recording.told.add((exposed.phase_id, viewer.id))


def records_of(slate: Slate, trace: Trace, viewer: Viewer, feed: str, duration_ms: float) -> list[bytes]:
    """Return the records of a slate that was made: the slate and, of some, what it was ranked from."""
    records = [recording.slate_record(slate, viewer.id, feed, duration_ms)]
    if trace.inputs and is_kept(slate.request_id):
        records.append(recording.inputs_record(slate.request_id, slate.built_at, pack_inputs(*trace.inputs)))
    return records


def checked(feed: str, limit: int) -> None:
    """Refuse a feed that we don't have, or a page of an impossible length."""
    if feed not in FEEDS:
        raise InvalidRequest(f"There is no feed {feed!r}; there are {', '.join(FEEDS)}.", "/feed")
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"A page has 1 to {MAX_LIMIT} posts, not {limit}.", "/limit")


def with_parts(slate: Slate) -> Slate:
    """Return a kept slate with the parts that were recorded when it was made, if they are there."""
    recorded = FeedRequest.objects.filter(pk=slate.request_id).values_list("part_names", "parts", "post_ids").first()
    if recorded is None or bytes(recorded[2]) != slate.post_ids.astype("<i8").tobytes():
        return slate
    names, parts = recorded[0], np.frombuffer(bytes(recorded[1]), "<f4")
    return replace(slate, part_names=tuple(names), parts=parts.reshape(len(slate), len(names)))


def page_of(query: Query, reading: Reading, viewer: Viewer, *, limit: int, explain: bool) -> tuple[Page, list[int]]:
    """Return a page of what the last look lets through, and the posts on it."""
    slate = with_parts(reading.slate) if explain and reading.trace is None else reading.slate
    wants: tuple[Filter, ...] = WANTS.get(query.feed, feeds.WANTS)
    shown, posts, end = look(query, slate, (*feeds.MAY_SEE, *wants), reading.offset, limit)
    page = Page(
        request_id=slate.request_id,
        member_id=viewer.external_id,
        feed=query.feed,
        engine=slate.engine,
        variant=slate.variant,
        fallback=slate.fallback,
        cached=reading.trace is None,
        built_at=datetime.fromtimestamp(slate.built_at, UTC),
        candidates=slate.candidates,
        picks=picks_of(slate, shown, posts, explain),
        next_cursor=next_cursor(query, reading, end),
        positions=tuple(shown),
        before=reading.before,
    )
    return page, slate.post_ids[shown].tolist()


def cursor_after(page: Page, i: int) -> str:
    """Return the cursor of what comes after the page's pick *i*."""
    return write_cursor(page.request_id, page.positions[i] + 1, page.before)


def next_cursor(query: Query, reading: Reading, end: int) -> str | None:
    """Return the cursor of what comes after *end*; None if there is no more: a slate that is not full has it all."""
    is_full = query.feed in FEEDS and len(reading.slate) >= query.size
    return write_cursor(reading.slate.request_id, end, reading.before) if is_full or end < len(reading.slate) else None


def look(
    query: Query, slate: Slate, filters: tuple[Filter, ...], offset: int, limit: int
) -> tuple[list[int], dict[int, PostView], int]:
    """
    Return the first *limit* picks from *offset* on that may be shown, their posts, and where to go on.

    Looks at a page and its reserve; further only if drops have eaten the reserve. The end is that of the slate if
    nothing behind it may be shown, as far as was looked.
    """
    shown: list[int] = []
    posts: dict[int, PostView] = {}
    while offset < len(slate):
        window = np.arange(offset, min(offset + limit + RESERVE, len(slate)))
        allowed, views = last_look(query, slate.post_ids[window], filters)
        shown += window[allowed].tolist()
        posts |= views
        offset = int(window[-1]) + 1
        if len(shown) > limit:
            return shown[:limit], posts, shown[limit]
        if len(shown) == limit:
            break
    return shown, posts, offset


def last_look(query: Query, post_ids: Int64Array, filters: tuple[Filter, ...]) -> tuple[BoolArray, dict[int, PostView]]:
    """Return which posts may be shown, by rows read now, and what is shown of them; fail closed."""
    try:
        looked = wiring.post_facts().read(query, post_ids)
        return keep(filters, query, looked.candidates, Trace(), stage="last_look"), looked.views
    except (DatabaseError, FilterError) as error:
        log.exception("last_look_failed", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error


def picks_of(slate: Slate, shown: list[int], posts: dict[int, PostView], explain: bool) -> tuple[Pick, ...]:
    """Return the slate's picks at *shown*."""
    has_parts = explain and slate.has_parts
    rows = zip(
        shown,
        slate.post_ids[shown].tolist(),
        slate.scores[shown].tolist(),
        slate.reasons[shown].tolist(),
        slate.origins[shown].tolist(),
        strict=True,
    )
    return tuple(
        Pick(posts[id], score, reasons_of(reasons), source_names(origins), parts_of(slate, i) if has_parts else None)
        for i, id, score, reasons, origins in rows
    )


@cache
def source_names(bits: int) -> tuple[str, ...]:
    """Return the names of the sources whose bits are set."""
    return tuple(origin.name.lower() for origin in origins_of(bits))


def parts_of(slate: Slate, i: int) -> dict[str, float]:
    """Return what the score of the pick at *i* is the sum of."""
    return dict(zip(slate.part_names, slate.parts[i].tolist(), strict=True))
