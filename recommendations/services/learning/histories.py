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
from recommendations.stores.bulk import upsert_columns
from recommendations.stores.interaction_columns import InteractionColumns, read_interactions
from recommendations.stores.relational_viewers import find_consenting, is_known_adult
from recommendations.stores.row_locks import lock_members


def add_reactions(interactions: InteractionColumns, kind_weights: Float64Array) -> None:
    """
    Add learned interactions to the histories of their members, whose rows are locked.

    None of them has a target: one with a target is not about the post itself. *kind_weights* are those of `KINDS`.
    """
    reactions = select_reactions(interactions, kind_weights)
    if not len(reactions):
        return
    by_member = reactions.select(np.argsort(reactions.member_ids, kind="stable"))
    members, firsts = np.unique(by_member.member_ids, return_index=True)
    columns = (np.split(column, firsts[1:]) for column in sign_posts(by_member, kind_weights))
    stored = read_histories(members.tolist())
    write_histories(
        {
            pk: stored.get(pk, Reactions.empty()).add(signed_ids, times)
            for pk, signed_ids, times in zip(members.tolist(), *columns, strict=True)
        }
    )


def select_reactions(interactions: InteractionColumns, kind_weights: Float64Array) -> InteractionColumns:
    """
    Return the interactions that are reactions.

    A kind of at least `MIN_POSITIVE_WEIGHT` is a like, one of negative weight a rejection. A view is neither.
    """
    weights = kind_weights[interactions.kinds]
    return interactions.select((weights >= MIN_POSITIVE_WEIGHT) | (weights < 0))


def sign_posts(reactions: InteractionColumns, kind_weights: Float64Array) -> tuple[Int64Array, Float64Array]:
    """Return the signed ids and the times (n,) of reactions, as `Reactions` has them."""
    return np.where(kind_weights[reactions.kinds] > 0, reactions.post_ids, -reactions.post_ids), reactions.times


def read_histories(member_ids: Sequence[int]) -> dict[int, Reactions]:
    """Return the reactions of those members who have a history."""
    rows = ReactionHistory.objects.filter(pk__in=member_ids).values_list("member_id", "reactions", "reacted_at")
    return {pk: Reactions.from_bytes(bytes(signed), bytes(times)) for pk, signed, times in rows}


def write_histories(histories: Mapping[int, Reactions]) -> None:
    """Write the histories. A member without reactions has no row."""
    written = {member_id: reactions for member_id, reactions in histories.items() if len(reactions)}
    upsert_columns(
        ReactionHistory,
        {
            "member_id": list(written),
            "reactions": [reactions.signed_ids.astype("<i8").tobytes() for reactions in written.values()],
            "reacted_at": [reactions.times.astype("<f8").tobytes() for reactions in written.values()],
        },
    )
    ReactionHistory.objects.filter(pk__in=[pk for pk, reactions in histories.items() if not len(reactions)]).delete()


def rebuild_history(member_id: int, kind_weights: Float64Array, now: datetime) -> None:
    """
    Rebuild the history of a member, whose row is locked, from all learned interactions since the latest reset.

    *kind_weights* are those of `KINDS`. The result equals the history that was learned event by event.
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
    reactions = select_reactions(read_interactions(rows.order_by()), kind_weights)
    write_histories({member_id: Reactions.from_events(*sign_posts(reactions, kind_weights))})


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
