"""
A page of a member's feed: from the slate that is kept, or a fresh one, and always after the last look.

The last look runs the privacy, safety and seen filters again, on rows read now: a block made a second ago holds.
"""

from __future__ import annotations

import base64
import binascii
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import DatabaseError

from recommendations import feeds
from recommendations.contracts import (
    EMPTY_IDS,
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
from recommendations.services.errors import FactsUnavailable, InvalidRequest
from recommendations.services.ranking import rank
from recommendations.services.replay import is_kept, pack_inputs
from recommendations.services.viewing import Choice, choose, known_viewer, query_of, with_history
from recommendations.stores.relational_viewers import Viewer

log = logging.getLogger(__name__)

FEEDS = ("discovery", "following", "trending", "non_personalized")
WANTS = {"similar": feeds.SIMILAR_WANTS, "non_personalized": feeds.NEUTRAL_WANTS}
MAX_LIMIT = 100
RESERVE = 20
"""Picks behind a page that are looked at with it, so that drops leave no gaps. Changes the speed."""
FALLBACK_FRESH_SECONDS = 10.0
"""A slate that a fallback made is kept this long only: the chosen engine is tried again soon."""


@dataclass(frozen=True, slots=True)
class Pick:
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


def recommend(
    *,
    member_id: str,
    feed: str = "discovery",
    limit: int = 20,
    cursor: str | None = None,
    explain: bool = False,
    now: datetime,
) -> Page:
    """
    Return up to *limit* posts of *feed* for the member, after those that *cursor* stands for.

    *explain* gives the parts of each score; of a slate that was kept, those recorded with it (a second after it was
    made; until then there are none). Raises a `ServiceError` that says why not.
    """
    checked(feed, limit)
    place = read_cursor(cursor) if cursor else None
    viewer = known_viewer(now, member_id=member_id)
    choice = choose(member_id)
    wiring.catalogue().refresh(now)
    start = perf_counter()
    query = query_of(viewer, choice, feed=feed, now=now)
    slate, offset, trace = slate_for(query, choice, viewer, place)
    cached = trace is None
    if explain and cached:
        slate = with_parts(slate)
    made = [] if trace is None else records_of(slate, trace, viewer, feed, (perf_counter() - start) * 1000)
    page, shown = page_of(query, slate, viewer, offset=offset, limit=limit, cached=cached, explain=explain)
    recording.record(*made, recording.page_record(slate.request_id, viewer.id, offset, shown, query.now))
    recording.observe(query, slate, trace, perf_counter() - start)
    return page


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


def slate_for(
    query: Query, choice: Choice, viewer: Viewer, place: tuple[UUID, int] | None
) -> tuple[Slate, int, Trace | None]:
    """Return the slate to page through, where to start in it, and how it was made; None: it was kept."""
    kept = wiring.slates().get(viewer.id, query.feed)
    if place and kept is not None and kept.request_id == place[0]:
        return kept, place[1], None
    if kept is not None and not place and is_fresh(kept, query):
        return kept, 0, None
    offset = 0
    if place:
        before = served_before(*place, viewer.id)
        query = replace(query, excluded_post_ids=before)
        # If nothing tells what was shown, the same place in a fresh slate is the nearest to it: the pages still end.
        offset = 0 if len(before) else place[1]
    trace = Trace()
    slate = build_slate(with_history(query, viewer), choice, trace)
    wiring.slates().put(viewer.id, query.feed, slate)
    return slate, offset, trace


def with_parts(slate: Slate) -> Slate:
    """Return a kept slate with the parts that were recorded when it was made, if they are there."""
    recorded = FeedRequest.objects.filter(pk=slate.request_id).values_list("part_names", "parts", "post_ids").first()
    if recorded is None or bytes(recorded[2]) != slate.post_ids.astype("<i8").tobytes():
        return slate
    names, parts = recorded[0], np.frombuffer(bytes(recorded[1]), "<f4")
    return replace(slate, part_names=tuple(names), parts=parts.reshape(len(slate), len(names)))


def build_slate(query: Query, choice: Choice, trace: Trace) -> Slate:
    """Return a fresh slate; if a filter fails, nothing."""
    try:
        return rank(query, choice, trace)
    except FilterError as error:
        log.exception("slate_lost", extra={"request_id": str(query.request_id)})
        raise FactsUnavailable("The feed cannot be checked now, so it is not shown. Try again shortly.") from error


def is_fresh(slate: Slate, query: Query) -> bool:
    """Return whether a kept slate may still be served: young enough, and by today's variant and policy."""
    limit = FALLBACK_FRESH_SECONDS if slate.fallback else settings.ENV.slate_fresh_seconds
    same = (slate.variant, slate.policy_version) == (query.variant, query.policy_version)
    return same and 0 <= query.now - slate.built_at < limit


def served_before(request_id: UUID, offset: int, member_id: int) -> Int64Array:
    """Return the first *offset* posts of an earlier request, sorted; nothing if it is not known any more."""
    row = FeedRequest.objects.filter(pk=request_id, member_id=member_id).values_list("post_ids", flat=True).first()
    return np.sort(np.frombuffer(bytes(row), "<i8")[:offset]) if row else EMPTY_IDS


def page_of(
    query: Query, slate: Slate, viewer: Viewer, *, offset: int, limit: int, cached: bool, explain: bool
) -> tuple[Page, list[int]]:
    """Return the page at *offset* of what the last look lets through, and the posts on it."""
    wants: tuple[Filter, ...] = WANTS.get(query.feed, feeds.WANTS)
    shown, posts, end = look(query, slate, (*feeds.MAY_SEE, *wants), offset, limit)
    page = Page(
        request_id=slate.request_id,
        member_id=viewer.external_id,
        feed=query.feed,
        engine=slate.engine,
        variant=slate.variant,
        fallback=slate.fallback,
        cached=cached,
        built_at=datetime.fromtimestamp(slate.built_at, UTC),
        candidates=slate.candidates,
        picks=tuple(pick_of(slate, i, posts[int(slate.post_ids[i])], explain) for i in shown),
        next_cursor=write_cursor(slate.request_id, end) if end < len(slate) else None,
    )
    return page, slate.post_ids[shown].tolist()


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


def pick_of(slate: Slate, i: int, post: PostView, explain: bool) -> Pick:
    """Return the slate's pick at *i*."""
    parts = None
    if explain and slate.has_parts:
        parts = {name: float(value) for name, value in zip(slate.part_names, slate.parts[i], strict=True)}
    return Pick(
        post=post,
        score=float(slate.scores[i]),
        reasons=reasons_of(int(slate.reasons[i])),
        sources=tuple(origin.name.lower() for origin in origins_of(int(slate.origins[i]))),
        parts=parts,
    )


def write_cursor(request_id: UUID, offset: int) -> str:
    """Return a text that stands for the place after *offset* picks of a request."""
    return base64.urlsafe_b64encode(request_id.bytes + offset.to_bytes(2, "big")).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[UUID, int]:
    """Return the request and the offset that *cursor* stands for."""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if len(data) != 18:
            raise ValueError(f"{len(data)} bytes")
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("This is no cursor of ours. Take `next_cursor` of an earlier page.", "/cursor") from error
    return UUID(bytes=data[:16]), int.from_bytes(data[16:], "big")
