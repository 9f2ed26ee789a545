"""
Record the events of members: interactions and undos. An event id counts once, even if it is sent twice, late or out
of order.

Each event gets its own result, so a bad event never costs the good ones. An undo may arrive before the interaction
that it undoes. `store_interactions` writes the effects that must hold on the member's next page. A worker learns the
interests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import numpy as np
from django.conf import settings

from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import MAX_CLOCK_SKEW, InteractionKind
from recommendations.models import Interaction, Member, NegativeFeedback, Post, Relationship, SeenPost, Undo
from recommendations.services import invalidate
from recommendations.services.errors import UnknownMember
from recommendations.services.learning.store_interactions import (
    NEGATIVE_KINDS,
    NOT_INTERESTED_TARGETS,
    store_interactions,
    store_seen,
)
from recommendations.stores.bulk import Column
from recommendations.stores.row_locks import lock_members

MAX_EVENT_ID = 128
EVENT_KINDS = frozenset(InteractionKind)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a platform sends it: an interaction or an undo. Ids are the platform's."""

    event_id: str
    member_id: str
    post_id: str = ""
    kind: str = ""
    target: str = ""
    """For a not_interested: author, topic or kind. Empty: the post's content."""
    undoes_event_id: str = ""
    """The id of the event to undo. An undo needs no post and no kind."""
    value: float | None = None
    occurred_at: datetime | None = None
    """None: now."""
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventResult:
    """The result of one event."""

    event_id: str
    status: Literal["recorded", "duplicate", "rejected"]
    problem: str = ""


def record_events(*, events: Sequence[Event], now: datetime) -> list[EventResult]:
    """Record the events and enqueue their learning. Return a result for each event, in order."""
    members = dict(
        Member.objects.filter(external_id__in={e.member_id for e in events}).values_list("external_id", "pk")
    )
    post_rows = Post.objects.filter(external_id__in={e.post_id for e in events if e.post_id})
    posts = {post.external_id: post for post in post_rows.only("external_id", "author_id", "kind", "tags")}
    recorded_ids = recorded_event_ids(events)
    results, interactions, undos = [], [], []
    for event in events:
        problem = validate_event(event, members, posts, now)
        if problem:
            results.append(EventResult(event.event_id, "rejected", problem))
        elif event.event_id in recorded_ids:
            results.append(EventResult(event.event_id, "duplicate"))
        else:
            recorded_ids.add(event.event_id)
            if event.undoes_event_id:
                undos.append((members[event.member_id], event))
            else:
                interactions.append(event)
            results.append(EventResult(event.event_id, "recorded"))
    if interactions:
        # Run again as a whole if a concurrent request interferes.
        stored = write_transaction(store_interactions)(build_columns(interactions, members, posts, now), now)
        enqueue_learning(stored.member_ids)
    undo_interactions(undos, now)
    return results


def recorded_event_ids(events: Sequence[Event]) -> set[str]:
    """Return the ids of the events that are already recorded, as interactions or as undos."""
    ids = {e.event_id for e in events}
    interaction_ids = Interaction.objects.filter(event_id__in=ids).values_list("event_id", flat=True)
    return {*interaction_ids, *Undo.objects.filter(event_id__in=ids).values_list("event_id", flat=True)}


def validate_event(event: Event, members: dict[str, int], posts: dict[str, Post], now: datetime) -> str:
    """Return the reason to reject the event, or an empty string if it can be recorded."""
    if not 0 < len(event.event_id) <= MAX_EVENT_ID:
        return f"event_id: give 1 to {MAX_EVENT_ID} characters, not {len(event.event_id)}."
    if event.member_id not in members:
        return f"member_id: there is no member {event.member_id!r}."
    if event.undoes_event_id:
        return "" if event.undoes_event_id != event.event_id else "undoes_event_id: an event cannot undo itself."
    if event.kind not in EVENT_KINDS:
        return f"kind: give one of {', '.join(InteractionKind)}, not {event.kind!r}."
    if event.target and event.kind != InteractionKind.NOT_INTERESTED:
        return f"target: only a not_interested event has a target; this event is a {event.kind}."
    if event.target and event.target not in NOT_INTERESTED_TARGETS:
        return f"target: give one of {', '.join(NOT_INTERESTED_TARGETS)}, not {event.target!r}."
    if event.post_id not in posts:
        return f"post_id: there is no post {event.post_id!r}."
    if event.kind == InteractionKind.FOLLOW and posts[event.post_id].author_id == members[event.member_id]:
        return "post_id: the member wrote this post and cannot follow themselves."
    if event.value is not None and not math.isfinite(event.value):
        return "value: give a finite number."
    if event.occurred_at and event.occurred_at.tzinfo is None:
        return "occurred_at: give a time with its offset, such as 2026-01-31T12:00:00Z."
    oldest = now - timedelta(days=settings.ENV.interaction_max_age_days)
    if event.occurred_at and event.occurred_at < oldest:
        return (
            f"occurred_at: {event.occurred_at.isoformat()} is too long ago. "
            "Import older interactions with manage.py import_data."
        )
    if event.occurred_at and event.occurred_at > now + MAX_CLOCK_SKEW:
        return f"occurred_at: {event.occurred_at.isoformat()} is in the future; check the sender's clock."
    return ""


def build_columns(
    events: Sequence[Event], members: dict[str, int], posts: dict[str, Post], now: datetime
) -> dict[str, Column]:
    """Return valid events as the columns of `store_interactions`."""
    return {
        "event_id": [event.event_id for event in events],
        "member_id": [members[event.member_id] for event in events],
        "post_id": [posts[event.post_id].pk for event in events],
        "kind": [event.kind for event in events],
        "target": [event.target for event in events],
        "value": [event.value for event in events],
        "occurred_at": [min(event.occurred_at or now, now) for event in events],
        "request_id": [event.request_id for event in events],
    }


def enqueue_learning(member_ids: list[int]) -> None:
    """Make a worker learn the pending interactions of these members now."""
    if member_ids:
        task_queue.enqueue(task_queue.LEARN_INTERACTIONS, {"member_ids": member_ids})


def undo_interactions(undos: Sequence[tuple[int, Event]], now: datetime) -> None:
    """Undo the interactions that the (member, event) pairs name. An interaction that arrives later is undone then."""
    if undos:
        store_undos(undos, now)


@write_transaction
def store_undos(undos: Sequence[tuple[int, Event]], now: datetime) -> None:
    """Store the undos with their effects."""
    # An interaction that arrives at this moment waits, and then finds its undo; or this waits, and finds it.
    lock_members({member_id for member_id, _ in undos})
    Undo.objects.bulk_create(
        [
            Undo(member_id=member_id, event_id=event.event_id, undoes_event_id=event.undoes_event_id, received_at=now)
            for member_id, event in undos
        ],
        ignore_conflicts=True,
    )
    undo_keys = {(event.undoes_event_id, member_id) for member_id, event in undos}
    candidates = Interaction.objects.select_related("post").filter(
        event_id__in=[event_id for event_id, _ in undo_keys], undone_at=None
    )
    rows = [row for row in candidates if (row.event_id, row.member_id) in undo_keys]
    Interaction.objects.filter(pk__in=[row.pk for row in rows]).update(undone_at=now)
    NegativeFeedback.objects.filter(event_id__in=[row.event_id for row in rows]).delete()
    for row in rows:
        if row.kind == InteractionKind.FOLLOW:
            delete_follow(row)
        if row.kind in NEGATIVE_KINDS:
            # After the undo of a negative interaction the post may be served to the member again.
            SeenPost.objects.filter(member=row.member_id, post=row.post_id).delete()
    member_ids = sorted({row.member_id for row in rows})
    invalidate.invalidate_slates(*member_ids)
    enqueue_learning(member_ids)


def delete_follow(interaction: Interaction) -> None:
    """Delete the follow that this interaction created, unless it is older or another interaction still supports it."""
    follow_interactions = Interaction.objects.filter(
        member=interaction.member_id, post__author=interaction.post.author_id, kind=interaction.kind
    )
    times = list(follow_interactions.order_by("received_at").values_list("received_at", "undone_at"))
    if all(undone_at for _, undone_at in times):
        follow = Relationship.objects.filter(
            source=interaction.member_id, target=interaction.post.author_id, kind="follow"
        )
        follow.filter(created_at__gte=times[0][0]).delete()


def mark_seen(*, member_id: str, post_ids: Sequence[str], now: datetime) -> int:
    """Record that the posts were on the member's screen. Return how many of the posts exist."""
    member = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if member is None:
        raise UnknownMember(member_id)
    post_pks = list(Post.objects.filter(external_id__in=list(post_ids)).values_list("pk", flat=True))
    store_seen([member] * len(post_pks), post_pks, np.full(len(post_pks), now))
    return len(post_pks)
