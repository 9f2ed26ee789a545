"""
Store interactions with their effects. Every writer of `Interaction` rows calls `store_interactions`, so an interaction
has the same effects whether it was sent to the API, imported or generated.

The effects are written in the transaction of the rows, and hold on the member's next page:

- The post is seen, at the time of the interaction. A post that was seen before keeps its time.
- After a follow the member follows the author, unless one of them blocks the other.
- A negative interaction hides the post. If it has a target, the member sees less of that author, topic or kind.

A worker learns interests and counts from the rows later (`learn.enqueue_pending_learning`).

Only rows that this call inserts have effects. An event that is already stored changes nothing, even if the member has
undone it since. If two calls store the same event at once, the unique constraint of the event id decides which of them
inserts it. An interaction whose undo arrived earlier is stored as undone and has no effects, except that its post is
seen if the interaction is not negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
from django.db import connection

from recommendations.contracts import BoolArray, FeedbackTarget, InteractionKind
from recommendations.models import Interaction, NegativeFeedback, Post, Relationship, SeenPost, Undo
from recommendations.services import invalidate
from recommendations.stores.bulk import Column, insert_columns, insert_new_rows, one_transaction
from recommendations.stores.row_locks import lock_members
from recommendations.stores.sql import fetch_rows, in_clause

NEGATIVE_KINDS = frozenset({InteractionKind.HIDE, InteractionKind.NOT_INTERESTED, InteractionKind.REPORT})
"""Interactions after which a post is never served to the member again, unless they are undone."""
NOT_INTERESTED_TARGETS = tuple(target for target in FeedbackTarget if target is not FeedbackTarget.POST)
IDS_PER_QUERY = 10_000
"""Maximum number of ids in a query. Changes the speed."""

UNDO_TABLE = connection.ops.quote_name(Undo._meta.db_table)
SELECT_UNDOS = f"SELECT undoes_event_id, member_id FROM {UNDO_TABLE} WHERE undoes_event_id {{one_of}}"
"""Raw SQL: for an import, the ORM takes ten times as long to prepare the query."""

Rows = Mapping[str, np.ndarray]
"""Interactions as one array (n,) for each attribute."""


@dataclass(frozen=True, slots=True)
class StoredInteractions:
    """The result of `store_interactions`."""

    count: int
    """How many interactions were inserted. The others were already stored."""
    member_ids: list[int]
    """Primary keys of the members with inserted interactions that are not undone: a worker can learn from them."""


def store_interactions(columns: Mapping[str, Column], now: datetime) -> StoredInteractions:
    """
    Insert the interactions that are not stored yet, with their effects.

    *columns* has a sequence (n,) for each attribute of `Interaction` that is given: at least event_id, member_id,
    post_id, kind and occurred_at. Callers have validated them: the members and posts exist, only a not_interested has a
    target, and no member follows themselves.
    """
    rows = {name: to_array(values) for name, values in columns.items()}
    is_negative = np.array([kind in NEGATIVE_KINDS for kind in columns["kind"]], np.bool_)
    is_follow = np.array([kind == InteractionKind.FOLLOW for kind in columns["kind"]], np.bool_)
    with one_transaction():
        # An undo that arrives at this moment waits, and then finds the interaction; or this waits, and finds the undo.
        lock_members(np.unique(rows["member_id"]).tolist())
        is_undone = find_undone(rows)
        undone_at = [now if undone else None for undone in is_undone.tolist()]
        is_new = insert_new_rows(
            Interaction, {**columns, "undone_at": undone_at}, {"received_at": now}, key=("event_id",)
        )
        is_effective = is_new & ~is_undone
        # A negative interaction that was undone before it arrived leaves no trace: the post may be served.
        seen = select_rows(rows, is_effective | (is_new & ~is_negative))
        store_seen(seen["member_id"], seen["post_id"], seen["occurred_at"])
        store_follows(select_rows(rows, is_effective & is_follow), now)
        store_negative_feedback(select_rows(rows, is_effective & is_negative))
        affected = select_rows(rows, is_effective & (is_follow | is_negative))
        invalidate.invalidate_slates(*np.unique(affected["member_id"]).tolist())
    effective = select_rows(rows, is_effective)
    return StoredInteractions(int(is_new.sum()), np.unique(effective["member_id"]).tolist())


def to_array(values: Column) -> np.ndarray:
    """Return the values as an array (n,). Texts and aware datetimes stay Python objects."""
    return values if isinstance(values, np.ndarray) else np.array(values, object)


def select_rows(rows: Rows, mask: BoolArray) -> Rows:
    """Return the rows for which *mask* (n,) is true."""
    return {name: values[mask] for name, values in rows.items()}


def find_undone(rows: Rows) -> BoolArray:
    """Return the mask (n,) of the interactions that their member has already undone."""
    undone_keys: set[tuple[object, ...]] = set()
    for event_ids in split_into_queries(rows["event_id"]):
        one_of, parameters = in_clause(event_ids)
        undone_keys.update(fetch_rows(SELECT_UNDOS.format(one_of=one_of), parameters))
    keys = zip(rows["event_id"], rows["member_id"].tolist(), strict=True)
    return np.array([key in undone_keys for key in keys], np.bool_)


def split_into_queries(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield *values* in lists of at most `IDS_PER_QUERY`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, IDS_PER_QUERY)):
        yield chunk


def store_seen(member_ids: Column, post_ids: Column, seen_at: np.ndarray) -> None:
    """
    Record posts (n,) as seen by members (n,), both by primary key, at *seen_at* (n,).

    In the order of the unique constraint: of two transactions that record the same posts, one waits for the other, and
    neither waits for rows of the other while it holds rows that the other needs.
    """
    members, posts = np.array(member_ids, np.int64), np.array(post_ids, np.int64)
    order = np.lexsort((posts, members))
    insert_columns(SeenPost, {"member_id": members[order], "post_id": posts[order], "seen_at": seen_at[order]})


def store_follows(rows: Rows, now: datetime) -> None:
    """Create the follows of these interactions. A follow across a block is not created."""
    authors: dict[int, int] = {}
    for post_ids in split_into_queries(np.unique(rows["post_id"]).tolist()):
        authors |= Post.objects.filter(pk__in=post_ids).values_list("pk", "author_id")
    pairs = {
        (member_id, authors[post_id])
        for member_id, post_id in zip(rows["member_id"].tolist(), rows["post_id"].tolist(), strict=True)
    }
    pairs -= blocked_pairs({member_id for member_id, _ in pairs})
    columns = {"source_id": [source for source, _ in sorted(pairs)], "target_id": [id for _, id in sorted(pairs)]}
    insert_columns(Relationship, columns, {"kind": Relationship.Kind.FOLLOW.value, "created_at": now})


def blocked_pairs(member_ids: set[int]) -> set[tuple[int, int]]:
    """Return (member, other member) of every block by or against the members. Such pairs cannot follow each other."""
    blocks = Relationship.objects.filter(kind=Relationship.Kind.BLOCK).values_list("source", "target")
    pairs: set[tuple[int, int]] = set()
    for ids in split_into_queries(member_ids):
        pairs |= {*blocks.filter(source__in=ids), *((id, other) for other, id in blocks.filter(target__in=ids))}
    return pairs


def store_negative_feedback(rows: Rows) -> None:
    """
    Store the feedback of these negative interactions: on the post and, if given, on the interaction's target.

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
    insert_columns(NegativeFeedback, columns, {"target": FeedbackTarget.POST.value})
    targeted_ids = rows["event_id"][rows["target"] != ""] if "target" in rows else ()
    for event_ids in split_into_queries(targeted_ids):
        # No joins: before a new table is analyzed, SQLite may plan a join as a scan of all interactions.
        targeted = Interaction.objects.filter(event_id__in=event_ids).prefetch_related("post", "member")
        feedback = [build_target_feedback(row) for row in targeted if is_after_reset(row)]
        NegativeFeedback.objects.bulk_create([row for row in feedback if row is not None])


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
        created_at=row.occurred_at,
    )


def feedback_key(target: str, post: Post) -> str | None:
    """Return the `NegativeFeedback.target_key` of the post's target, or None for the topic of a post without tags."""
    if target == FeedbackTarget.TOPIC:
        return str(post.tags[0]) if post.tags else None
    keys = {
        FeedbackTarget.POST: str(post.pk),
        FeedbackTarget.AUTHOR: str(post.author_id),
        FeedbackTarget.KIND: post.kind,
    }
    return keys[FeedbackTarget(target)]
