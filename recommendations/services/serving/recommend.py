"""
A page of a member's feed: from the slate that is kept, or a fresh one, and always after the last look.

The last look runs the privacy, safety and seen filters again, on rows read now: a block made a second ago holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from flags.services.version import version
from recommendations.contracts import NON_PERSONALIZED, Query, Slate
from recommendations.models import FeedRequest
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.errors import InvalidRequest
from recommendations.services.serving import records
from recommendations.services.serving.cursors import read_cursor, write_cursor
from recommendations.services.serving.feed_metrics import counted, observe_page, observe_slate
from recommendations.services.serving.final_check import RESERVE, Sight, look, picks_of
from recommendations.services.serving.inputs import is_kept, pack_inputs
from recommendations.services.serving.pages import KeptPage, Page, pages
from recommendations.services.serving.query import (
    Choice,
    Narrow,
    as_of_now,
    choose,
    inquire,
    known_viewer,
    narrowed,
    query_of,
)
from recommendations.services.serving.refresh import ask_for
from recommendations.services.serving.slates import Reading, follow_catalogue, instead, reading_for
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Inquiry

FEEDS = ("discovery", "following", "trending", "non_personalized")
MAX_LIMIT = 100
NO_NARROW = Narrow()


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
    inquiry: Inquiry | None = None,
    now: datetime,
) -> Page:
    """
    Return up to *limit* posts of *feed* for the member, after those that *cursor* stands for.

    *explain* gives the parts of each score; of a slate that was kept, those recorded with it (a second after it was
    made; until then there are none). *narrow* brings only some posts, and is not remembered. *choice* serves
    them in place of what the flag says. *inquiry*: what this request asked of the member, first of all. Raises a
    `ServiceError` that says why not.
    """
    start = perf_counter()
    checked(feed, limit)
    place = read_cursor(cursor) if cursor else None
    inquiry = inquiry or inquire(member_id=member_id)
    is_first = place is None and not explain and narrow == NO_NARROW and choice is None
    # What needs no facts of the viewer is done while they are on their way.
    kept = pages().get(member_id, feed, limit, now.timestamp()) if is_first else None
    by_flags = serving(member_id, choice) if kept is None else None
    viewer = known_viewer(now, member_id=member_id, inquiry=inquiry)
    if is_first and (kept := pages().of_now(kept, viewer)) is not None:
        show(kept, now, seconds=perf_counter() - start, limit=limit)
        return kept.page
    flags, choice = by_flags or serving(member_id, choice)
    follow_catalogue(now)
    only, excluded = narrowed(narrow, now)
    query = query_of(viewer, choice, feed=feed, now=now, only=only, excluded=excluded)
    reading = reading_for(query, choice, viewer, place)
    page, sight = page_as_of_now(query, reading, viewer, choice, limit=limit, explain=explain)
    if not sight.shown and (other := instead(reading, query, choice, viewer)):
        reading = other
        page, sight = page_as_of_now(query, reading, viewer, choice, limit=limit, explain=explain)
    if reading.is_stale:
        ask_for(viewer.id, feed)
    elif is_first and sight.shown:
        pages().keep(page, reading.slate, sight, choice, flags, limit=limit)
    slate, trace, seconds = reading.slate, reading.trace, perf_counter() - start
    made = [] if trace is None else records_of(slate, trace, viewer, feed, seconds * 1000)
    note(page, sight, choice, now, offset=reading.offset, made=made)
    found = "miss" if trace else "stale" if reading.is_stale else "hit"
    observe_page(feed, slate, found, seconds, is_full=len(sight.shown) == limit, is_empty=not sight.shown)
    if trace is not None:
        observe_slate(slate, trace, seconds)
    return page


def serving(member_id: str, choice: Choice | None) -> tuple[str, Choice]:
    """Return what serves the member, and the version of the flags that say so; one that changes now is another."""
    flags = version()
    return flags, choice or choose(member_id)


def show(kept: KeptPage, now: datetime, *, seconds: float, limit: int) -> None:
    """Note and count that a page is shown again."""
    note(kept.page, kept.sight, kept.choice, now)
    is_full = len(kept.sight.shown) == limit
    observe_page(kept.page.feed, kept.slate, "hit", seconds, is_full=is_full, is_empty=False)


def page_as_of_now(
    query: Query, reading: Reading, viewer: Viewer, choice: Choice, *, limit: int, explain: bool
) -> tuple[Page, Sight]:
    """
    Return a page of the slate, judged by what holds now.

    Ranking takes a while, and who was blocked or muted meanwhile is not shown: the facts of the viewer and of the posts
    are asked for again. The slate is kept while the answer is on its way.
    """
    inquiry = None
    if reading.trace is not None:
        window = slice(reading.offset, reading.offset + limit + RESERVE)
        inquiry = inquire(pk=viewer.id, post_ids=reading.slate.post_ids[window].tolist())
        if reading.keep is not None:
            reading.keep()
        query, viewer = as_of_now(query, viewer, choice, inquiry)
    return page_of(query, reading, viewer, limit=limit, explain=explain, inquiry=inquiry)


def note(
    page: Page,
    sight: Sight,
    choice: Choice,
    now: datetime,
    *,
    offset: int = 0,
    made: Sequence[bytes] = (),
) -> None:
    """Have a page recorded; with it, once, that the member meets the variant of an experiment."""
    viewer = sight.viewer
    shows = records.page_record(page.request_id, viewer.id, offset, sight.post_ids, now.timestamp())
    exposed = choice.exposed if page.feed != NON_PERSONALIZED else None
    if exposed is None or (exposed.phase_id, viewer.id) in records.told:
        records.record(*made, shows)
        return
    met = records.exposure_record(exposed, viewer.id, viewer.external_id, now.timestamp())
    records.record(*made, shows, exposed=(met, (exposed.phase_id, viewer.id)))


def records_of(slate: Slate, trace: Trace, viewer: Viewer, feed: str, duration_ms: float) -> list[bytes]:
    """Return the records of a slate that was made: the slate and, of some, what it was ranked from."""
    made = records.slate_records(slate, viewer.id, feed, duration_ms)
    if trace.inputs and is_kept(slate.request_id):
        made.append(records.inputs_record(slate.request_id, slate.built_at, pack_inputs(*trace.inputs)))
    return made


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


def page_of(
    query: Query, reading: Reading, viewer: Viewer, *, limit: int, explain: bool, inquiry: Inquiry | None
) -> tuple[Page, Sight]:
    """Return a page of what the last look lets through, and the look."""
    slate = with_parts(reading.slate) if explain and reading.trace is None else reading.slate
    sight = look(query, slate, viewer, reading.offset, limit, inquiry)
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
        picks=picks_of(slate, sight.shown, sight.views, explain=True) if explain else sight.picks,
        next_cursor=next_cursor(query, reading, sight.end),
        positions=tuple(sight.shown),
        before=reading.before,
    )
    return page, sight


def cursor_after(page: Page, i: int) -> str:
    """Return the cursor of what comes after the page's pick *i*."""
    return write_cursor(page.request_id, page.positions[i] + 1, page.before)


def next_cursor(query: Query, reading: Reading, end: int) -> str | None:
    """Return the cursor of what comes after *end*; None if there is no more: a slate that is not full has it all."""
    is_full = query.feed in FEEDS and len(reading.slate) >= query.size
    return write_cursor(reading.slate.request_id, end, reading.before) if is_full or end < len(reading.slate) else None
