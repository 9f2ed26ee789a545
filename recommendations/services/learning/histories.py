"""
Reaction histories: the rows that everything collaborative is computed from.

A history is written in the transaction that learns, unlearns or resets a member's interactions, while the member's row
is locked. Triggers record the change for the co-like counts (`stores/history_changes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from recommendations.collaborative.reactions import Reactions
from recommendations.contracts import IMPLICIT_KINDS, MIN_POSITIVE_WEIGHT, Float64Array, Int64Array
from recommendations.models import Interaction, Member, ReactionHistory
from recommendations.stores.relational_viewers import find_consenting, is_known_adult
from recommendations.stores.row_locks import lock_members

Event = tuple[int, float, float]
"""An interaction as a reaction needs it: the post's id, the weight of its kind, and its time in Unix seconds."""


def add_reactions(events: Mapping[int, Sequence[Event]]) -> None:
    """Add learned interactions to the histories of these members, whose rows are locked."""
    columns = {member_id: reaction_columns(own) for member_id, own in events.items()}
    columns = {member_id: column for member_id, column in columns.items() if len(column[0])}
    stored = read_histories(list(columns))
    write_histories({pk: stored.get(pk, Reactions.empty()).add(*column) for pk, column in columns.items()})


def reaction_columns(events: Sequence[Event]) -> tuple[Int64Array, Float64Array]:
    """
    Return the signed ids and times (n,) of the events that are reactions.

    A kind of at least `MIN_POSITIVE_WEIGHT` is a like, one of negative weight a rejection. A view is neither.
    """
    reactions = [event for event in events if event[1] >= MIN_POSITIVE_WEIGHT or event[1] < 0]
    signed = np.array([post_id if weight > 0 else -post_id for post_id, weight, _ in reactions], np.int64)
    return signed, np.array([time for _, _, time in reactions], np.float64)


def read_histories(member_ids: Sequence[int]) -> dict[int, Reactions]:
    """Return the reactions of those members who have a history."""
    rows = ReactionHistory.objects.filter(pk__in=member_ids).values_list("member_id", "reactions", "reacted_at")
    return {pk: Reactions.from_bytes(bytes(signed), bytes(times)) for pk, signed, times in rows}


def write_histories(histories: Mapping[int, Reactions]) -> None:
    """Write the histories. A member without reactions has no row."""
    ReactionHistory.objects.bulk_create(
        [
            ReactionHistory(
                member_id=member_id,
                reactions=reactions.signed_ids.astype("<i8").tobytes(),
                reacted_at=reactions.times.astype("<f8").tobytes(),
            )
            for member_id, reactions in histories.items()
            if len(reactions)
        ],
        update_conflicts=True,
        unique_fields=["member"],
        update_fields=["reactions", "reacted_at"],
    )
    ReactionHistory.objects.filter(pk__in=[pk for pk, reactions in histories.items() if not len(reactions)]).delete()


def rebuild_history(member_id: int, weights: Mapping[str, float], now: datetime) -> None:
    """
    Rebuild the history of a member, whose row is locked, from all learned interactions since the latest reset.

    The result equals the history that was learned event by event.
    """
    member = find_consenting(Member.objects.filter(pk=member_id)).first()
    if member is None:
        write_histories({member_id: Reactions.empty()})
        return
    rows = Interaction.objects.filter(member_id=member_id, is_learned=True, is_ignored=False, undone_at=None, target="")
    if member.interests_reset_at:
        rows = rows.filter(occurred_at__gte=member.interests_reset_at)
    if not is_known_adult(member.is_adult, member.birth_year, now):
        rows = rows.exclude(kind__in=IMPLICIT_KINDS)
    events = [
        (post_id, weights[kind], occurred_at.timestamp())
        for post_id, kind, occurred_at in rows.order_by().values_list("post_id", "kind", "occurred_at").iterator()
    ]
    write_histories({member_id: Reactions.from_events(*reaction_columns(events))})


def find_reacting_members(post_ids: Sequence[int]) -> list[int]:
    """Return the members who interacted with any of the posts."""
    interactions = Interaction.objects.filter(post__in=post_ids).order_by()
    return sorted(set(interactions.values_list("member_id", flat=True)))


def lock_reacting_members(post_ids: Sequence[int]) -> None:
    """Lock the members who interacted with any of the posts, before the posts themselves are locked."""
    lock_members(find_reacting_members(post_ids))


def forget_posts(post_ids: Sequence[int]) -> None:
    """
    Remove posts that are being erased from the histories of all members who interacted with them.

    The caller has locked the members and the posts. It locks a member who interacted with a post in between.
    """
    member_ids = find_reacting_members(post_ids)
    lock_members(member_ids)
    erased = np.array(post_ids, np.int64)
    histories = read_histories(member_ids)
    write_histories({pk: reactions.without(erased) for pk, reactions in histories.items()})
