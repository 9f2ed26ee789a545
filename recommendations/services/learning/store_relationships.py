"""
Store follows, follow requests, blocks and mutes. Every writer of `Relationship` rows calls this module.

So these rules hold for every entry point:

- A follow of a private account is a request, which has no effect until the account's member approves it. Only the
  platform itself may store a follow without a request (*approves_follows*).
- A member who follows an account, or has requested to, keeps following when the account becomes private. When it
  becomes open, its pending requests are approved: anyone may follow it then.
- A block ends the follows and requests between its two members, and while it exists no follow or request is stored
  between them, whichever of the two was sent first.

Concurrent writers: the rows of both members are locked before a relationship is stored or ended, and the row of the
target before a request becomes a follow. Without the locks, a block and a follow that are stored at the same moment
would not see each other, and both would stay; and a request could become a follow while it is being ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from django.db.models import QuerySet

from monitoring.transactions import write_transaction
from recommendations.contracts import BoolArray
from recommendations.models import Member, PrivacySettings, Relationship
from recommendations.services import invalidate
from recommendations.stores.bulk import Column, insert_columns, one_transaction
from recommendations.stores.row_locks import lock_members

FOLLOW, FOLLOW_REQUEST = Relationship.Kind.FOLLOW.value, Relationship.Kind.FOLLOW_REQUEST.value
BLOCK = Relationship.Kind.BLOCK.value
MUTE = Relationship.Kind.MUTE.value
FOLLOW_KINDS = (FOLLOW, FOLLOW_REQUEST)
IDS_PER_QUERY = 10_000
"""Maximum number of ids in a query. Changes the speed."""

Pair = tuple[int, int]
"""The source and the target of a relationship, by primary key."""
Rows = Mapping[str, np.ndarray]
"""Relationships as one array (n,) for each attribute: source_id, target_id, kind and created_at."""


def store_relationships(columns: Mapping[str, Column], *, approves_follows: bool) -> int:
    """
    Store the relationships that do not exist yet. Return how many were stored, including requests that became follows.

    *columns* has a sequence (n,) for each attribute: source_id, target_id, kind and created_at. Rows of members that do
    not exist are left out. No row relates a member to themselves. *approves_follows*: the platform itself states that
    the members follow each other, so follows of private accounts need no request.
    """
    rows: Rows = {name: to_array(values) for name, values in columns.items()}
    if not len(rows["source_id"]):
        return 0
    with one_transaction():
        member_ids = {*rows["source_id"].tolist(), *rows["target_id"].tolist()}
        lock_members(member_ids)
        existing_ids = find_members(member_ids)
        rows = select(rows, [source in existing_ids and target in existing_ids for source, target in pairs_of(rows)])
        blocks = {pair for pair, kind in zip(pairs_of(rows), rows["kind"].tolist(), strict=True) if kind == BLOCK}
        rows = drop_blocked_follows(rows, blocks)
        rows = request_follows(rows, approves_follows=approves_follows)
        approved_count = approve_pairs(select_pairs(rows, FOLLOW))
        stored_count = insert_columns(Relationship, rows) + approved_count
        end_follows_between(blocks)
        if stored_count:
            # The final check drops the posts of a muted author from cached slates, whose other posts stay in place.
            invalidate_pairs(pairs_of(select(rows, [kind not in (FOLLOW_REQUEST, MUTE) for kind in rows["kind"]])))
    return stored_count


def to_array(values: Column) -> np.ndarray:
    """Return the values as an array (n,). Texts and aware datetimes stay Python objects."""
    return values if isinstance(values, np.ndarray) else np.array(values, object)


def select(rows: Rows, mask: BoolArray | list[bool]) -> Rows:
    """Return the rows for which *mask* (n,) is true."""
    mask = np.array(mask, np.bool_)
    return {name: values[mask] for name, values in rows.items()}


def pairs_of(rows: Rows) -> list[Pair]:
    """Return the pair of each row (n,)."""
    return list(zip(rows["source_id"].tolist(), rows["target_id"].tolist(), strict=True))


def select_pairs(rows: Rows, kind: str) -> set[Pair]:
    """Return the pairs of the rows of this kind."""
    return set(pairs_of(select(rows, rows["kind"] == kind)))


def split_into_queries(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield *values* in lists of at most `IDS_PER_QUERY`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, IDS_PER_QUERY)):
        yield chunk


def find_members(member_ids: Collection[int]) -> set[int]:
    """Return the primary keys of those of the members that exist."""
    found: set[int] = set()
    for ids in split_into_queries(member_ids):
        found.update(Member.objects.filter(pk__in=ids).values_list("pk", flat=True))
    return found


def drop_blocked_follows(rows: Rows, blocks: set[Pair]) -> Rows:
    """Return the rows without follows and requests across a block: one of *blocks*, or a stored one."""
    is_follow = [kind in FOLLOW_KINDS for kind in rows["kind"].tolist()]
    sources = {source for source, _ in pairs_of(select(rows, is_follow))}
    blocked = blocked_pairs(sources) | blocks | {(target, source) for source, target in blocks}
    return select(
        rows,
        [not follows or pair not in blocked for pair, follows in zip(pairs_of(rows), is_follow, strict=True)],
    )


def blocked_pairs(member_ids: Iterable[int]) -> set[Pair]:
    """Return (member, other member) of every block by or against the members. Such pairs cannot follow each other."""
    blocks = Relationship.objects.filter(kind=BLOCK).values_list("source", "target")
    pairs: set[Pair] = set()
    for ids in split_into_queries(member_ids):
        pairs |= {*blocks.filter(source__in=ids), *((id, other) for other, id in blocks.filter(target__in=ids))}
    return pairs


def request_follows(rows: Rows, *, approves_follows: bool) -> Rows:
    """
    Return the rows with each follow and request as what is to be stored: a request if it needs an approval.

    A request of a member who already follows the account is left out.
    """
    kinds = rows["kind"].tolist()
    may_need_approval = (FOLLOW_REQUEST,) if approves_follows else FOLLOW_KINDS
    candidates = select(rows, [kind in may_need_approval for kind in kinds])
    open_ids = find_open_accounts(set(candidates["target_id"].tolist()))
    kinds = [
        kind
        if kind not in FOLLOW_KINDS
        else FOLLOW_REQUEST
        if kind in may_need_approval and target not in open_ids
        else FOLLOW
        for kind, target in zip(kinds, rows["target_id"].tolist(), strict=True)
    ]
    rows = {**rows, "kind": np.array(kinds, object)}
    following = select_pairs(rows, FOLLOW) | find_pairs(FOLLOW, select_pairs(rows, FOLLOW_REQUEST)).keys()
    return select(
        rows,
        [kind != FOLLOW_REQUEST or pair not in following for kind, pair in zip(kinds, pairs_of(rows), strict=True)],
    )


def find_open_accounts(member_ids: Iterable[int]) -> set[int]:
    """Return those of the members whose account is open. An account without privacy settings is private."""
    settings = PrivacySettings.objects.filter(is_private=False)
    return {
        pk
        for ids in split_into_queries(member_ids)
        for pk in settings.filter(member__in=ids).values_list("member_id", flat=True)
    }


def find_pairs(kind: str, pairs: Iterable[Pair]) -> dict[Pair, int]:
    """Return the primary keys of the stored relationships of this kind, by pair, for those of *pairs* that have one."""
    found: dict[Pair, int] = {}
    wanted = set(pairs)
    for sources in split_into_queries({source for source, _ in wanted}):
        # By source alone: SQLite would look up every combination of a list of sources and a list of targets.
        stored = Relationship.objects.filter(kind=kind, source__in=sources)
        for pk, source, target in stored.values_list("pk", "source_id", "target_id"):
            if (source, target) in wanted:
                found[source, target] = pk
    return found


def approve_pairs(pairs: Collection[Pair]) -> int:
    """Make follows of the pending requests of these pairs. Return how many there were."""
    requests = find_pairs(FOLLOW_REQUEST, pairs)
    return make_follows(Relationship.objects.filter(pk__in=list(requests.values()))) if requests else 0


@write_transaction
def make_follows(requests: QuerySet[Relationship]) -> int:
    """Make follows of those of these relationships that are requests. Return how many there were."""
    requests = requests.filter(kind=FOLLOW_REQUEST)
    lock_members(requests.values_list("target_id", flat=True))
    pairs = list(requests.values_list("source_id", "target_id"))
    approved_count = requests.update(kind=FOLLOW)
    invalidate_pairs(pairs)
    return approved_count


def end_follows_between(blocks: Collection[Pair]) -> None:
    """End the follows and requests between the members of these blocks, in both directions."""
    both_ways = [*blocks, *((target, source) for source, target in blocks)]
    for kind in FOLLOW_KINDS:
        for pks in split_into_queries(find_pairs(kind, both_ways).values()):
            Relationship.objects.filter(pk__in=pks).delete()


def approve_request(**lookup: object) -> bool:
    """
    Make a follow of the pending request that *lookup* finds. Return whether there was one.

    A request is never across a block, because a block ends it.
    """
    return bool(make_follows(Relationship.objects.filter(source__is_active=True, **lookup)))


@write_transaction
def approve_requests_of_open_accounts(member_ids: Iterable[int]) -> None:
    """Approve all pending requests to those of these members whose account is open."""
    pks = set(member_ids)
    lock_members(pks)
    for ids in split_into_queries(find_open_accounts(pks)):
        make_follows(Relationship.objects.filter(target__in=ids))


@write_transaction
def end_relationships(rows: QuerySet[Relationship]) -> None:
    """Delete these relationships."""
    lock_members({pk for pair in rows.values_list("source_id", "target_id") for pk in pair})
    pairs = list(rows.values_list("source_id", "target_id"))
    rows.delete()
    invalidate_pairs(pairs)


def invalidate_pairs(pairs: Iterable[Pair]) -> None:
    """Purge the slates of the members of these pairs on commit."""
    if member_ids := {member_id for pair in pairs for member_id in pair}:
        invalidate.invalidate_slates(*member_ids)
