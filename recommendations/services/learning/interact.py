"""
Record the events of members: interactions and undos. An event counts once, even if it is sent twice, late or out of
order.

An event id is unique per member and sender: the platform with all its keys, or the member's own tokens. So no member
can take the ids that the platform will use. The same id with other content is rejected.

Each event gets its own result, so a bad event never costs the good ones. An undo may arrive before the interaction
that it undoes. `store_interactions` writes the effects that must hold on the member's next page. A worker learns the
interests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError

from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import MAX_CLOCK_SKEW, InteractionKind, Sender
from recommendations.models import Interaction, Member, NegativeFeedback, Relationship, SeenPost, Undo
from recommendations.services import invalidate
from recommendations.services.errors import UnknownMember
from recommendations.services.learning.event_ids import EventContent, EventKey, find_recorded, has_same_content
from recommendations.services.learning.seen_counts import store_seen_posts
from recommendations.services.learning.store_interactions import (
    NEGATIVE_KINDS,
    NOT_INTERESTED_TARGETS,
    store_interactions,
)
from recommendations.services.learning.store_relationships import FOLLOW_KINDS, end_relationships
from recommendations.services.serving.visibility import find_visible_posts
from recommendations.stores.bulk import Column
from recommendations.stores.relational_posts import PostFacts
from recommendations.stores.relational_viewers import find_member_ids
from recommendations.stores.row_locks import lock_members

MAX_EVENT_ID = 128
EVENT_KINDS = frozenset(InteractionKind)

EventPosts = Mapping[tuple[str, str], PostFacts]
"""By the platform ids of a member and a post: the posts that the members may see."""


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


def record_events(*, events: Sequence[Event], now: datetime, sender: Sender = Sender.PLATFORM) -> list[EventResult]:
    """Record the events of *sender* and enqueue their learning. Return a result for each event, in order."""
    try:
        return record_events_once(events, now, sender)
    except IntegrityError:
        # A member or post was erased meanwhile: now it is unknown.
        return record_events_once(events, now, sender)


def record_events_once(events: Sequence[Event], now: datetime, sender: Sender) -> list[EventResult]:
    """Record the events. Raises `IntegrityError` if a member or post is erased at the same moment."""
    members = find_member_ids({event.member_id for event in events})
    posts = find_event_posts(events, members, now)
    recorded = find_recorded({event_key(event, members) for event in events if event.member_id in members}, sender)
    results: list[EventResult] = []
    new: list[tuple[int, Event]] = []
    for position, event in enumerate(events):
        if problem := validate_event(event, members, posts, now):
            results.append(EventResult(event.event_id, "rejected", problem))
            continue
        content = event_content(event, posts, now)
        earlier = recorded.setdefault(event_key(event, members), content)
        if earlier is not content:
            results.append(repeated_result(event, content, earlier))
            continue
        results.append(EventResult(event.event_id, "recorded"))
        new.append((position, event))
    are_stored = store_events([event for _, event in new], members, posts, now, sender)
    # A concurrent request has taken the ids of the others since they were looked up.
    late = [item for item, is_stored in zip(new, are_stored, strict=True) if not is_stored]
    recorded = find_recorded([event_key(event, members) for _, event in late], sender)
    for position, event in late:
        content = event_content(event, posts, now)
        earlier = recorded.get(event_key(event, members), content)  # absent if the member was erased since
        results[position] = repeated_result(event, content, earlier)
    return results


def store_events(
    events: Sequence[Event], members: dict[str, int], posts: EventPosts, now: datetime, sender: Sender
) -> list[bool]:
    """Store valid events with their effects. Return whether each was stored, in order: a concurrent request may win."""
    interactions = [event for event in events if not event.undoes_event_id]
    undos = [(members[event.member_id], event) for event in events if event.undoes_event_id]
    are_interactions_stored: list[bool] = []
    if interactions:
        # Run again as a whole if a concurrent request interferes.
        stored = write_transaction(store_interactions)(
            build_columns(interactions, members, posts, now), now, sender, approves_follows=False
        )
        are_interactions_stored = stored.is_new.tolist()
        enqueue_learning(stored.member_ids)
    are_undos_stored = undo_interactions(undos, now, sender) if undos else []
    of_interactions, of_undos = iter(are_interactions_stored), iter(are_undos_stored)
    return [next(of_undos if event.undoes_event_id else of_interactions) for event in events]


def event_key(event: Event, members: dict[str, int]) -> EventKey:
    """Return the key of an event of a known member."""
    return event.event_id, members[event.member_id]


def event_content(event: Event, posts: EventPosts, now: datetime) -> EventContent:
    """Return the content of a valid event."""
    if event.undoes_event_id:
        return EventContent(undoes_event_id=event.undoes_event_id)
    at = min(event.occurred_at, now) if event.occurred_at else None
    post = posts[event.member_id, event.post_id]
    return EventContent(post.id, event.kind, event.target, event.value, event.request_id, at)


def repeated_result(event: Event, content: EventContent, earlier: EventContent) -> EventResult:
    """Return the result of an event whose id is already recorded: a duplicate, or rejected if the contents differ."""
    if has_same_content(content, earlier):
        return EventResult(event.event_id, "duplicate")
    problem = "event_id: this id was used for an event with other content. Send each event with an id of its own."
    return EventResult(event.event_id, "rejected", problem)


def find_event_posts(events: Sequence[Event], members: Mapping[str, int], now: datetime) -> EventPosts:
    """Return the posts of the events, by the platform ids of member and post: those that the member may see now."""
    wanted: dict[int, set[str]] = {pk: set() for pk in members.values()}
    for event in events:
        if event.post_id and event.member_id in members:
            wanted[members[event.member_id]].add(event.post_id)
    names = {pk: external_id for external_id, pk in members.items()}
    visible = find_visible_posts(wanted, now)
    return {(names[member_id], post_id): post for (member_id, post_id), post in visible.items()}


def validate_event(event: Event, members: dict[str, int], posts: EventPosts, now: datetime) -> str:
    """
    Return the reason to reject the event, or an empty string if it can be recorded.

    A post that the member may not see is answered like a post that does not exist, whoever sends the event.
    """
    if not 0 < len(event.event_id) <= MAX_EVENT_ID:
        return f"event_id: give 1 to {MAX_EVENT_ID} characters, not {len(event.event_id)}."
    if event.member_id not in members:
        return f"member_id: there is no member {event.member_id!r}."
    if len(event.undoes_event_id) > MAX_EVENT_ID:
        return f"undoes_event_id: give 1 to {MAX_EVENT_ID} characters, not {len(event.undoes_event_id)}."
    if event.undoes_event_id:
        return "" if event.undoes_event_id != event.event_id else "undoes_event_id: an event cannot undo itself."
    if event.kind not in EVENT_KINDS:
        return f"kind: give one of {', '.join(InteractionKind)}, not {event.kind!r}."
    if event.target and event.kind != InteractionKind.NOT_INTERESTED:
        return f"target: only a not_interested event has a target; this event is a {event.kind}."
    if event.target and event.target not in NOT_INTERESTED_TARGETS:
        return f"target: give one of {', '.join(NOT_INTERESTED_TARGETS)}, not {event.target!r}."
    post = posts.get((event.member_id, event.post_id))
    if post is None:
        return f"post_id: there is no post {event.post_id!r} that this member can see."
    if event.kind == InteractionKind.FOLLOW and post.author_id == members[event.member_id]:
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
    events: Sequence[Event], members: dict[str, int], posts: EventPosts, now: datetime
) -> dict[str, Column]:
    """Return valid events as the columns of `store_interactions`."""
    return {
        "event_id": [event.event_id for event in events],
        "member_id": [members[event.member_id] for event in events],
        "post_id": [posts[event.member_id, event.post_id].id for event in events],
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


@write_transaction
def undo_interactions(undos: Sequence[tuple[int, Event]], now: datetime, sender: Sender) -> list[bool]:
    """
    Undo the interactions of *sender* that the (member, event) pairs name. One that arrives later is undone then.

    Return whether each undo was stored, in order: not if a concurrent request used its id for another undo.
    """
    # An interaction that arrives at this moment waits, and then finds its undo; or this waits, and finds it. The end of
    # a follow also locks the author, so the authors are locked at the same time.
    undone = find_interactions([(event.undoes_event_id, member_id) for member_id, event in undos], sender)
    lock_members({member_id for member_id, _ in undos} | {row.post.author_id for row in undone if is_follow(row)})
    Undo.objects.bulk_create(
        [
            Undo(
                member_id=member_id,
                event_id=event.event_id,
                sender=sender,
                undoes_event_id=event.undoes_event_id,
                received_at=now,
            )
            for member_id, event in undos
        ],
        ignore_conflicts=True,
    )
    same_ids = Undo.objects.filter(event_id__in=[event.event_id for _, event in undos], sender=sender)
    stored = set(same_ids.values_list("event_id", "member_id", "undoes_event_id"))
    are_stored = [(event.event_id, member_id, event.undoes_event_id) in stored for member_id, event in undos]
    keys = [(event.undoes_event_id, member_id) for member_id, event in undos]
    rows = find_interactions([key for key, is_stored in zip(keys, are_stored, strict=True) if is_stored], sender)
    Interaction.objects.filter(pk__in=[row.pk for row in rows]).update(undone_at=now)
    delete_feedback(rows, sender)
    for row in rows:
        if is_follow(row):
            delete_follow(row)
        if row.kind in NEGATIVE_KINDS:
            # After the undo of a negative interaction the post may be served to the member again.
            SeenPost.objects.filter(member=row.member_id, post=row.post_id).delete()
    member_ids = sorted({row.member_id for row in rows})
    invalidate.invalidate_slates(*member_ids)
    enqueue_learning(member_ids)
    return are_stored


def find_interactions(keys: Sequence[EventKey], sender: Sender) -> list[Interaction]:
    """Return the interactions of *sender* with these keys that are not undone."""
    wanted = set(keys)
    candidates = Interaction.objects.select_related("post").filter(
        event_id__in=[event_id for event_id, _ in wanted], sender=sender, undone_at=None
    )
    return [row for row in candidates if (row.event_id, row.member_id) in wanted]


def is_follow(interaction: Interaction) -> bool:
    """Return whether the interaction is a follow of the post's author."""
    return interaction.kind == InteractionKind.FOLLOW


def delete_feedback(interactions: Sequence[Interaction], sender: Sender) -> None:
    """Delete the negative feedback that these interactions of *sender* gave. Other members use the same ids."""
    keys = {(row.event_id, row.member_id) for row in interactions}
    same_ids = NegativeFeedback.objects.filter(event_id__in=[event_id for event_id, _ in keys], sender=sender)
    rows = [pk for pk, *key in same_ids.values_list("pk", "event_id", "member_id") if tuple(key) in keys]
    NegativeFeedback.objects.filter(pk__in=rows).delete()


def delete_follow(interaction: Interaction) -> None:
    """Delete the follow or request of this interaction, unless it is older or another interaction still supports it."""
    follow_interactions = Interaction.objects.filter(
        member=interaction.member_id, post__author=interaction.post.author_id, kind=interaction.kind
    )
    times = list(follow_interactions.order_by("received_at").values_list("received_at", "undone_at"))
    if all(undone_at for _, undone_at in times):
        follows = Relationship.objects.filter(
            source=interaction.member_id, target=interaction.post.author_id, kind__in=FOLLOW_KINDS
        )
        end_relationships(follows.filter(created_at__gte=times[0][0]))


def mark_seen(*, member_id: str, post_ids: Sequence[str], now: datetime) -> int:
    """Record that the posts were on the member's screen. Return how many of the posts the member may see."""
    try:
        return mark_seen_once(member_id, post_ids, now)
    except IntegrityError:
        # The member or a post was erased meanwhile: now it is unknown.
        return mark_seen_once(member_id, post_ids, now)


def mark_seen_once(member_id: str, post_ids: Sequence[str], now: datetime) -> int:
    """Mark the posts as seen. Raises `IntegrityError` if the member or a post is erased at the same moment."""
    member = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if member is None:
        raise UnknownMember(member_id)
    post_pks = [post.id for post in find_visible_posts({member: post_ids}, now).values()]
    store_seen_posts(member, post_pks, now)
    return len(post_pks)
