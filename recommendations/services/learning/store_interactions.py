"""
Store interactions with their effects. Every writer of `Interaction` rows calls `store_interactions`, so an interaction
has the same effects whether it was sent to the API, imported or generated.

The effects are written in the transaction of the rows, and hold on the member's next page:

- The post is seen, at the time of the interaction. A post that was seen before keeps its time.
- After a follow the member follows the author, by the rules of `store_relationships.py`.
- A negative interaction hides the post. If it has a target, the member sees less of that author, topic or kind.

A worker learns interests and counts from the rows later (`learn.enqueue_pending_learning`).

Only rows that this call inserts have effects. An event that is already stored changes nothing, even if the member has
undone it since. An event id is unique per member and sender. If two calls store the same event at once, the unique
constraint decides which of them inserts it. An interaction whose undo arrived earlier is stored as undone and has no
effects, except that its post is seen if the interaction is not negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import connection

from recommendations.contracts import BoolArray, FeedbackTarget, InteractionKind, Sender
from recommendations.models import Interaction, NegativeFeedback, Post, Relationship, SeenPost, Undo
from recommendations.services import invalidate
from recommendations.services.learning.store_relationships import split_into_queries, store_relationships
from recommendations.stores.bulk import Column, insert_columns, insert_new_rows, one_transaction
from recommendations.stores.relational_posts import PostFacts
from recommendations.stores.row_locks import lock_members
from recommendations.stores.sql import fetch_rows, in_clause

NEGATIVE_KINDS = frozenset({InteractionKind.HIDE, InteractionKind.NOT_INTERESTED, InteractionKind.REPORT})
"""Interactions after which a post is never served to the member again, unless they are undone."""
NOT_INTERESTED_TARGETS = tuple(target for target in FeedbackTarget if target is not FeedbackTarget.POST)

UNDO_TABLE = connection.ops.quote_name(Undo._meta.db_table)
SELECT_UNDOS = f"SELECT undoes_event_id, member_id, sender FROM {UNDO_TABLE} WHERE undoes_event_id {{one_of}}"
"""Raw SQL: for an import, the ORM takes ten times as long to prepare the query."""

Rows = Mapping[str, np.ndarray]
"""Interactions as one array (n,) for each attribute."""


@dataclass(frozen=True, slots=True)
class StoredInteractions:
    """The result of `store_interactions`."""

    is_new: BoolArray
    """(n,) Whether the interaction was inserted. The others were already stored."""
    member_ids: list[int]
    """Primary keys of the members with inserted interactions that are not undone: a worker can learn from them."""

    @property
    def count(self) -> int:
        """How many interactions were inserted."""
        return int(self.is_new.sum())


def store_interactions(
    columns: Mapping[str, Column], now: datetime, sender: Sender = Sender.PLATFORM, *, approves_follows: bool
) -> StoredInteractions:
    """
    Insert the interactions of *sender* that are not stored yet, with their effects.

    *columns* has a sequence (n,) for each attribute of `Interaction` that is given: at least event_id, member_id,
    post_id, kind and occurred_at. Callers have validated them: the members and posts exist, only a not_interested has a
    target, and no member follows themselves. *approves_follows*: see `store_relationships`.
    """
    rows = {name: to_array(values) for name, values in columns.items()}
    is_negative = np.array([kind in NEGATIVE_KINDS for kind in columns["kind"]], np.bool_)
    is_follow = np.array([kind == InteractionKind.FOLLOW for kind in columns["kind"]], np.bool_)
    authors = find_authors(rows["post_id"][is_follow])
    with one_transaction():
        # An undo that arrives at this moment waits, and then finds the interaction; or this waits, and finds the undo.
        # A follow also locks the author, so the authors are locked at the same time.
        lock_members({*rows["member_id"].tolist(), *authors.values()})
        is_undone = find_undone(rows, sender)
        undone_at = [now if undone else None for undone in is_undone.tolist()]
        shared = {"received_at": now, "sender": sender.value}
        key = ("event_id", "member_id")
        is_new = insert_new_rows(Interaction, {**columns, "undone_at": undone_at}, shared, key=key)
        is_effective = is_new & ~is_undone
        # A negative interaction that was undone before it arrived leaves no trace: the post may be served.
        seen = select_rows(rows, is_effective | (is_new & ~is_negative))
        store_seen(seen["member_id"], seen["post_id"], seen["occurred_at"])
        store_follows(select_rows(rows, is_effective & is_follow), authors, now, approves_follows=approves_follows)
        store_negative_feedback(select_rows(rows, is_effective & is_negative), sender)
        # The final check drops a hidden post from a cached slate, whose other posts stay where they are.
        affected = select_rows(rows, is_effective & (is_follow | has_target(rows)))
        invalidate.invalidate_slates(*np.unique(affected["member_id"]).tolist())
    effective = select_rows(rows, is_effective)
    return StoredInteractions(is_new, np.unique(effective["member_id"]).tolist())


def to_array(values: Column) -> np.ndarray:
    """Return the values as an array (n,). Texts and aware datetimes stay Python objects."""
    return values if isinstance(values, np.ndarray) else np.array(values, object)


def select_rows(rows: Rows, mask: BoolArray) -> Rows:
    """Return the rows for which *mask* (n,) is true."""
    return {name: values[mask] for name, values in rows.items()}


def find_undone(rows: Rows, sender: Sender) -> BoolArray:
    """Return the mask (n,) of the interactions of *sender* that it has already undone."""
    undone_keys: set[tuple[object, ...]] = set()
    for event_ids in split_into_queries(rows["event_id"]):
        one_of, parameters = in_clause(event_ids)
        undone_keys.update(fetch_rows(SELECT_UNDOS.format(one_of=one_of), parameters))
    keys = zip(rows["event_id"], rows["member_id"].tolist(), strict=True)
    return np.array([(*key, sender.value) in undone_keys for key in keys], np.bool_)


def store_seen(member_ids: Column, post_ids: Column, seen_at: np.ndarray) -> None:
    """
    Record posts (n,) as seen by members (n,), both by primary key, at *seen_at* (n,).

    In the order of the unique constraint: of two transactions that record the same posts, one waits for the other, and
    neither waits for rows of the other while it holds rows that the other needs.
    """
    members, posts = np.array(member_ids, np.int64), np.array(post_ids, np.int64)
    order = np.lexsort((posts, members))
    insert_columns(SeenPost, {"member_id": members[order], "post_id": posts[order], "seen_at": seen_at[order]})


def find_authors(post_ids: np.ndarray) -> dict[int, int]:
    """Return the authors of the posts (n,), by primary key."""
    authors: dict[int, int] = {}
    for ids in split_into_queries(np.unique(post_ids).tolist()):
        authors |= Post.objects.filter(pk__in=ids).values_list("pk", "author_id")
    return authors


def store_follows(rows: Rows, authors: Mapping[int, int], now: datetime, *, approves_follows: bool) -> None:
    """Create the follows of these interactions; *authors* by post."""
    pairs = sorted(
        {
            (member_id, authors[post_id])
            for member_id, post_id in zip(rows["member_id"].tolist(), rows["post_id"].tolist(), strict=True)
        }
    )
    columns: dict[str, Column] = {
        "source_id": [source for source, _ in pairs],
        "target_id": [target for _, target in pairs],
        "kind": [Relationship.Kind.FOLLOW.value] * len(pairs),
        "created_at": [now] * len(pairs),
    }
    store_relationships(columns, approves_follows=approves_follows)


def store_negative_feedback(rows: Rows, sender: Sender) -> None:
    """
    Store the feedback of these negative interactions of *sender*: on the post and, if given, on their target.

    A reset of a member's interests deletes the feedback on authors, topics and kinds. So an interaction from before the
    latest reset gives none.
    """
    columns: dict[str, Column] = {
        "member_id": rows["member_id"],
        "target_key": [str(post_id) for post_id in rows["post_id"].tolist()],
        "post_id": rows["post_id"],
        "event_id": rows["event_id"],
        "created_at": rows["occurred_at"],
    }
    insert_columns(NegativeFeedback, columns, {"target": FeedbackTarget.POST.value, "sender": sender.value})
    targeted_rows = select_rows(rows, has_target(rows))
    targeted_keys = set(zip(targeted_rows["event_id"], targeted_rows["member_id"].tolist(), strict=True))
    for event_ids in split_into_queries({event_id for event_id, _ in targeted_keys}):
        # No joins: before a new table is analyzed, SQLite may plan a join as a scan of all interactions.
        same_ids = Interaction.objects.filter(event_id__in=event_ids, sender=sender).prefetch_related("post", "member")
        targeted = [row for row in same_ids if (row.event_id, row.member_id) in targeted_keys]
        feedback = [build_target_feedback(row) for row in targeted if is_after_reset(row)]
        # A profile file may have brought the same feedback.
        NegativeFeedback.objects.bulk_create([row for row in feedback if row is not None], ignore_conflicts=True)


def has_target(rows: Rows) -> BoolArray:
    """Return the mask (n,) of the interactions with a target."""
    count = len(rows["event_id"])
    return np.array(rows["target"] != "", np.bool_) if "target" in rows else np.zeros(count, np.bool_)


def is_after_reset(row: Interaction) -> bool:
    """Return whether the interaction is not from before the latest reset of its member's interests."""
    reset_at = row.member.interests_reset_at
    return reset_at is None or row.occurred_at >= reset_at


def build_target_feedback(row: Interaction) -> NegativeFeedback | None:
    """Return the feedback on the interaction's target, or None for the topic of a post without tags."""
    key = feedback_key(row.target, row.post)
    if key is None:
        return None
    return NegativeFeedback(
        member_id=row.member_id,
        target=row.target,
        target_key=key,
        post=row.post,
        event_id=row.event_id,
        sender=row.sender,
        created_at=row.occurred_at,
    )


def feedback_key(target: str, post: Post | PostFacts) -> str | None:
    """Return the `NegativeFeedback.target_key` of the post's target, or None for the topic of a post without tags."""
    if target == FeedbackTarget.TOPIC:
        return str(post.tags[0]) if post.tags else None
    keys = {
        FeedbackTarget.POST: str(post.id),
        FeedbackTarget.AUTHOR: str(post.author_id),
        FeedbackTarget.KIND: post.kind,
    }
    return keys[FeedbackTarget(target)]
