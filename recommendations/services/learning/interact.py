"""
Record what members did and took back. Senders may send twice, late and out of order: an event id counts once.

A bad event never loses the good ones: each gets its own answer. An undo may come before the act that it names.
What must hold on the member's next page (a wish for less, a follow) is written here; tastes are learned by a worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from django.conf import settings
from django.db import transaction

from recommendations import task_queue
from recommendations.contracts import MAX_CLOCK_SKEW, FeedbackTarget, InteractionKind
from recommendations.models import Interaction, Member, NegativeFeedback, Post, Relationship, SeenPost, Undo
from recommendations.services import invalidate
from recommendations.services.errors import UnknownMember
from recommendations.stores.bulk import insert_columns

MAX_EVENT_ID = 128
EVENT_KINDS = frozenset(InteractionKind)
NOT_INTERESTED_REASONS = tuple(subject for subject in FeedbackTarget if subject is not FeedbackTarget.POST)
INTERACTION_COLUMNS = (
    "event_id",
    "member_id",
    "post_id",
    "kind",
    "target",
    "value",
    "occurred_at",
    "received_at",
    "request_id",
    "undone_at",
)
NEGATIVE_KINDS = frozenset({InteractionKind.HIDE, InteractionKind.NOT_INTERESTED, InteractionKind.REPORT})
"""Acts after which a post is never shown again, unless they are undone."""


@dataclass(frozen=True, slots=True)
class Event:
    """One act, as a platform reports it. Ids are the platform's."""

    event_id: str
    member_id: str
    post_id: str = ""
    kind: str = ""
    target: str = ""
    """Of a not-interested: author, topic or format; empty for what the post says."""
    undoes_event_id: str = ""
    """The id of the event that this one takes back; such an event needs no post and no kind."""
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


def record_events(*, events: Sequence[Event], now: datetime) -> list[EventResult]:
    """Record the events and have them learned. Return a result for each, in their order."""
    members = dict(
        Member.objects.filter(external_id__in={e.member_id for e in events}).values_list("external_id", "pk")
    )
    named = Post.objects.filter(external_id__in={e.post_id for e in events if e.post_id})
    posts = {post.external_id: post for post in named.only("external_id", "author_id", "kind", "tags")}
    known = recorded_event_ids(events)
    results, acts, undone = [], [], []
    for event in events:
        problem = validate_event(event, members, posts, now)
        if problem:
            results.append(EventResult(event.event_id, "rejected", problem))
        elif event.event_id in known:
            results.append(EventResult(event.event_id, "duplicate"))
        else:
            known.add(event.event_id)
            if event.undoes_event_id:
                undone.append((members[event.member_id], event))
            else:
                acts.append(build_interaction(event, members[event.member_id], posts[event.post_id], now))
            results.append(EventResult(event.event_id, "recorded"))
    store_interactions(acts, now)
    undo_interactions(undone, now)
    return results


def recorded_event_ids(events: Sequence[Event]) -> set[str]:
    """Return which of the events' ids are recorded already, as acts or as undos."""
    ids = {e.event_id for e in events}
    acts = Interaction.objects.filter(event_id__in=ids).values_list("event_id", flat=True)
    return {*acts, *Undo.objects.filter(event_id__in=ids).values_list("event_id", flat=True)}


def validate_event(event: Event, members: dict[str, int], posts: dict[str, Post], now: datetime) -> str:
    """Return why the event cannot be recorded; nothing if it can."""
    if not 0 < len(event.event_id) <= MAX_EVENT_ID:
        return f"event_id: give 1 to {MAX_EVENT_ID} characters, not {len(event.event_id)}."
    if event.member_id not in members:
        return f"member_id: there is no member {event.member_id!r}."
    if event.undoes_event_id:
        return "" if event.undoes_event_id != event.event_id else "undoes_event_id: an event cannot undo itself."
    if event.kind not in EVENT_KINDS:
        return f"kind: {event.kind!r} is none of {', '.join(InteractionKind)}."
    if event.target and event.kind != InteractionKind.NOT_INTERESTED:
        return f"reason: only a not_interested has one, and this is a {event.kind}."
    if event.target and event.target not in NOT_INTERESTED_REASONS:
        return f"reason: {event.target!r} is none of {', '.join(NOT_INTERESTED_REASONS)}."
    if event.post_id not in posts:
        return f"post_id: there is no post {event.post_id!r}."
    if event.kind == InteractionKind.FOLLOW and posts[event.post_id].author_id == members[event.member_id]:
        return "post_id: it is by the member, who cannot follow themselves."
    if event.value is not None and not math.isfinite(event.value):
        return "value: give a finite number."
    if event.occurred_at and event.occurred_at.tzinfo is None:
        return "occurred_at: give a time with its offset, such as 2026-01-31T12:00:00Z."
    oldest = now - timedelta(days=settings.ENV.interaction_max_age_days)
    if event.occurred_at and event.occurred_at < oldest:
        return f"occurred_at: {event.occurred_at.isoformat()} is too long ago: import a history with manage.py import."
    if event.occurred_at and event.occurred_at > now + MAX_CLOCK_SKEW:
        return f"occurred_at: {event.occurred_at.isoformat()} is in the future; check the sender's clock."
    return ""


def build_interaction(event: Event, member_id: int, post: Post, now: datetime) -> Interaction:
    """Return the event as a row."""
    return Interaction(
        event_id=event.event_id,
        member_id=member_id,
        post=post,
        kind=event.kind,
        target=event.target,
        value=event.value,
        occurred_at=min(event.occurred_at or now, now),
        received_at=now,
        request_id=event.request_id,
    )


def store_interactions(rows: Sequence[Interaction], now: datetime) -> None:
    """Write the rows, what holds at once because of them, and that their posts were seen; then have them learned."""
    if not rows:
        return
    # An undo may have come first.
    early = Undo.objects.filter(undoes_event_id__in=[row.event_id for row in rows])
    taken_back = set(early.values_list("undoes_event_id", "member_id"))
    for row in rows:
        row.undone_at = now if (row.event_id, row.member_id) in taken_back else None
    standing = [row for row in rows if row.undone_at is None]
    with transaction.atomic():
        insert_columns(Interaction, {name: [getattr(row, name) for row in rows] for name in INTERACTION_COLUMNS})
        # A turning down that was taken back before it came leaves no trace: the post may be shown.
        store_seen(
            [(row.member_id, row.post_id) for row in rows if row.undone_at is None or row.kind not in NEGATIVE_KINDS],
            now,
        )
        apply_immediate_effects(standing, now)
        member_ids = sorted({row.member_id for row in standing})
        if member_ids:
            task_queue.enqueue(task_queue.LEARN_INTERACTIONS, {"member_ids": member_ids})


def apply_immediate_effects(rows: Sequence[Interaction], now: datetime) -> None:
    """Write follows and wishes for less: they hold on the next page, before a worker has learned anything."""
    follows = [row for row in rows if row.kind == InteractionKind.FOLLOW]
    apart = blocked_pairs({row.member_id for row in follows})
    Relationship.objects.bulk_create(
        [
            Relationship(source_id=row.member_id, target_id=row.post.author_id, kind="follow", created_at=now)
            for row in follows
            if (row.member_id, row.post.author_id) not in apart
        ],
        ignore_conflicts=True,
    )
    wishes = [wish for row in rows if row.kind in NEGATIVE_KINDS for wish in build_negative_feedback(row)]
    NegativeFeedback.objects.bulk_create(wishes, ignore_conflicts=True, batch_size=2_000)
    concerned = {row.member_id for row in follows} | {wish.member_id for wish in wishes}
    invalidate.invalidate_slates(*sorted(concerned))


def blocked_pairs(member_ids: set[int]) -> set[tuple[int, int]]:
    """Return each of these members with everybody on the other side of a block: they can't follow each other."""
    if not member_ids:
        return set()
    blocks = Relationship.objects.filter(kind="block").values_list("source", "target")
    theirs = blocks.filter(target__in=member_ids)
    return {*blocks.filter(source__in=member_ids), *((target, source) for source, target in theirs)}


def build_negative_feedback(row: Interaction) -> list[NegativeFeedback]:
    """Return what a member wants less of after turning a post down: the post itself, and what the reason names."""
    post = row.post
    keys = {FeedbackTarget.POST: [str(post.pk)], FeedbackTarget.AUTHOR: [str(post.author_id)]}
    keys |= {FeedbackTarget.TOPIC: [str(tag) for tag in post.tags[:1]], FeedbackTarget.KIND: [post.kind]}
    subjects = [FeedbackTarget.POST, *([FeedbackTarget(row.target)] if row.target else [])]
    return [
        NegativeFeedback(
            member_id=row.member_id,
            target=subject,
            target_key=key,
            post=post,
            event_id=row.event_id,
            created_at=row.occurred_at,
        )
        for subject in subjects
        for key in keys[subject]
    ]


def undo_interactions(undos: Sequence[tuple[int, Event]], now: datetime) -> None:
    """Take back each member's own acts that the events name, those that are here; the others when they come."""
    if not undos:
        return
    with transaction.atomic():
        Undo.objects.bulk_create(
            [
                Undo(
                    member_id=member_id, event_id=event.event_id, undoes_event_id=event.undoes_event_id, received_at=now
                )
                for member_id, event in undos
            ],
            ignore_conflicts=True,
        )
        named = {(event.undoes_event_id, member_id) for member_id, event in undos}
        rows = Interaction.objects.select_related("post").filter(
            event_id__in=[event_id for event_id, _ in named], undone_at=None
        )
        acts = [row for row in rows if (row.event_id, row.member_id) in named]
        Interaction.objects.filter(pk__in=[row.pk for row in acts]).update(undone_at=now)
        NegativeFeedback.objects.filter(event_id__in=[row.event_id for row in acts]).delete()
        for row in acts:
            if row.kind == InteractionKind.FOLLOW:
                unfollow(row)
            if row.kind in NEGATIVE_KINDS:
                # Who takes a turning down back may be shown the post again.
                SeenPost.objects.filter(member=row.member_id, post=row.post_id).delete()
        member_ids = sorted({row.member_id for row in acts})
        invalidate.invalidate_slates(*member_ids)
        if member_ids:
            task_queue.enqueue(task_queue.LEARN_INTERACTIONS, {"member_ids": member_ids})


def unfollow(interaction: Interaction) -> None:
    """End the follow that this act made, unless it was there before any, or another one stands."""
    same = Interaction.objects.filter(
        member=interaction.member_id, post__author=interaction.post.author_id, kind=interaction.kind
    )
    acts = list(same.order_by("received_at").values_list("received_at", "undone_at"))
    if all(undone_at for _, undone_at in acts):
        ties = Relationship.objects.filter(
            source=interaction.member_id, target=interaction.post.author_id, kind="follow"
        )
        ties.filter(created_at__gte=acts[0][0]).delete()


def store_seen(pairs: Sequence[tuple[int, int]], now: datetime) -> None:
    """Write that members saw posts, for (member, post) ids."""
    once = list(dict.fromkeys(pairs))
    if once:
        columns = {"member_id": [member for member, _ in once], "post_id": [post for _, post in once]}
        insert_columns(SeenPost, columns, {"seen_at": now})


def mark_seen(*, member_id: str, post_ids: Sequence[str], now: datetime) -> int:
    """Record that these posts were on the member's screen. Return how many of them we know."""
    member = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if member is None:
        raise UnknownMember(member_id)
    known = list(Post.objects.filter(external_id__in=list(post_ids)).values_list("pk", flat=True))
    store_seen([(member, post_id) for post_id in known], now)
    return len(known)
