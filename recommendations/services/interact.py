"""
Record what members did. Senders may send twice, late and out of order: an event id counts once.

A bad event never loses the good ones: each gets its own answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from django.db import transaction

from recommendations import jobs
from recommendations.contracts import InteractionKind
from recommendations.models import Interaction, Member, Post, Seen
from recommendations.services.errors import UnknownMember

CLOCK_SKEW = timedelta(minutes=5)
"""A sender's clock may be ahead by this much; such an event counts as of now."""
MAX_EVENT_ID = 128
KINDS = frozenset(InteractionKind)


@dataclass(frozen=True, slots=True)
class Event:
    """One act, as a platform reports it. Ids are the platform's."""

    event_id: str
    member_id: str
    post_id: str
    kind: str
    value: float | None = None
    occurred_at: datetime | None = None
    """None: now."""
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event."""

    event_id: str
    status: Literal["recorded", "duplicate", "rejected"]
    problem: str = ""


def record(*, events: Sequence[Event], now: datetime) -> list[EventResult]:
    """Record the events and have them learned. Return a result for each, in their order."""
    members = dict(
        Member.objects.filter(external_id__in={e.member_id for e in events}).values_list("external_id", "pk")
    )
    posts = dict(Post.objects.filter(external_id__in={e.post_id for e in events}).values_list("external_id", "pk"))
    known = set(
        Interaction.objects.filter(event_id__in={e.event_id for e in events}).values_list("event_id", flat=True)
    )
    results, rows = [], []
    for event in events:
        problem = problem_of(event, members, posts, now)
        if problem:
            results.append(EventResult(event.event_id, "rejected", problem))
        elif event.event_id in known:
            results.append(EventResult(event.event_id, "duplicate"))
        else:
            known.add(event.event_id)
            rows.append(row_of(event, members[event.member_id], posts[event.post_id], now))
            results.append(EventResult(event.event_id, "recorded"))
    keep(rows, now)
    return results


def problem_of(event: Event, members: dict[str, int], posts: dict[str, int], now: datetime) -> str:
    """Return why the event cannot be recorded; nothing if it can."""
    if not 0 < len(event.event_id) <= MAX_EVENT_ID:
        return f"event_id: give 1 to {MAX_EVENT_ID} characters, not {len(event.event_id)}."
    if event.kind not in KINDS:
        return f"kind: {event.kind!r} is none of {', '.join(InteractionKind)}."
    if event.member_id not in members:
        return f"member_id: there is no member {event.member_id!r}."
    if event.post_id not in posts:
        return f"post_id: there is no post {event.post_id!r}."
    if event.value is not None and not math.isfinite(event.value):
        return "value: give a finite number."
    if event.occurred_at and event.occurred_at.tzinfo is None:
        return "occurred_at: give a time with its offset, such as 2026-01-31T12:00:00Z."
    if event.occurred_at and event.occurred_at > now + CLOCK_SKEW:
        return f"occurred_at: {event.occurred_at.isoformat()} is in the future; check the sender's clock."
    return ""


def row_of(event: Event, member_id: int, post_id: int, now: datetime) -> Interaction:
    """Return the event as a row."""
    return Interaction(
        event_id=event.event_id,
        member_id=member_id,
        post_id=post_id,
        kind=event.kind,
        value=event.value,
        occurred_at=min(event.occurred_at or now, now),
        received_at=now,
        request_id=event.request_id,
    )


def keep(rows: Sequence[Interaction], now: datetime) -> None:
    """Write the rows, and that their posts were seen; then have them learned."""
    if not rows:
        return
    with transaction.atomic():
        Interaction.objects.bulk_create(rows, ignore_conflicts=True, batch_size=2_000)
        see([(row.member_id, row.post_id) for row in rows], now)
        member_ids = sorted({row.member_id for row in rows})
        jobs.enqueue(jobs.LEARN, {"member_ids": member_ids})


def see(pairs: Sequence[tuple[int, int]], now: datetime) -> None:
    """Write that members saw posts, for (member, post) ids."""
    rows = [Seen(member_id=member_id, post_id=post_id, seen_at=now) for member_id, post_id in dict.fromkeys(pairs)]
    Seen.objects.bulk_create(rows, ignore_conflicts=True, batch_size=2_000)


def mark_seen(*, member_id: str, post_ids: Sequence[str], now: datetime) -> int:
    """Record that these posts were on the member's screen. Return how many of them we know."""
    member = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if member is None:
        raise UnknownMember(member_id)
    known = list(Post.objects.filter(external_id__in=list(post_ids)).values_list("pk", flat=True))
    see([(member, post_id) for post_id in known], now)
    return len(known)
