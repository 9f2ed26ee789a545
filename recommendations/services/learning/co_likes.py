"""
Keeps the co-like counts up to date: counts the changes of reaction histories, a few seconds after they were learned.

Counts are sums of whole numbers over members, so applying the changes one after the other gives exactly the counts of
a full recount. A member who is erased or opts out leaves the counts in the same way: as the change to an empty history.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import numpy as np
from django.db import connection
from django.db.models import Value

from monitoring.transactions import write_transaction
from recommendations.collaborative.nearest import PostCounts, pack_nearest
from recommendations.collaborative.pair_counts import PairCounts, add_counts, count_change
from recommendations.contracts import Int64Array
from recommendations.models import CoLikes, HistoryChange, ReactionHistory

log = logging.getLogger(__name__)

CHANGES_PER_TRANSACTION = 500
"""Changes of histories that are counted in one transaction. Changes the speed and the memory."""
ROWS_PER_QUERY = 500
COUNT_LOCK = 4_711
"""The number of the PostgreSQL advisory lock that is held while counting."""

Likes = tuple[Int64Array, Int64Array]
"""The liked posts (n,) before and after a change, oldest like first."""


class InconsistentCountsError(RuntimeError):
    """The counts do not include what a change takes back: someone has deleted or changed their rows."""


def count_changes(*, now: datetime) -> int:
    """
    Count all recorded changes of histories. Return how many.

    If the counts turn out to be wrong, all histories are counted again instead.
    """
    total = 0
    try:
        while counted := count_batch(now):
            total += counted
    except InconsistentCountsError:
        log.exception("co_likes_inconsistent")
        total += recount(now=now)
    return total


@write_transaction
def count_batch(now: datetime) -> int:
    """Count the oldest recorded changes and delete their records. Return how many."""
    lock_counts()
    rows = list(HistoryChange.objects.order_by("pk").values_list("pk", "before", "after")[:CHANGES_PER_TRANSACTION])
    if rows:
        apply_changes([(liked_ids(before), liked_ids(after)) for _, before, after in rows], now)
        HistoryChange.objects.filter(pk__in=[pk for pk, _, _ in rows]).delete()
    return len(rows)


@write_transaction
def recount(*, now: datetime) -> int:
    """
    Count all histories again. Return how many.

    The counts do not change by it. The weights of pairs do: they depend on how many members like the other post, and
    are computed again only when the counts of the pair's own post change.

    Workers go on learning meanwhile. One query reads the histories together with the recorded changes, so that exactly
    those changes are deleted that the histories already include. Two queries would read the histories at two moments
    on PostgreSQL, and a change that was committed in between would be lost or counted twice.
    """
    lock_counts()
    CoLikes.objects.all().delete()
    recorded = HistoryChange.objects.annotate(is_change=Value(True)).values_list("is_change", "pk", "after")
    stored = ReactionHistory.objects.annotate(is_change=Value(False)).values_list("is_change", "pk", "reactions")
    rows = stored.union(recorded, all=True).iterator()
    count = 0
    while batch := list(islice(rows, CHANGES_PER_TRANSACTION)):
        histories = [(liked_ids(b""), liked_ids(reactions)) for is_change, _, reactions in batch if not is_change]
        apply_changes(histories, now)
        count += len(histories)
        HistoryChange.objects.filter(pk__in=[pk for is_change, pk, _ in batch if is_change]).delete()
    return count


def lock_counts() -> None:
    """Wait until no other transaction counts. Counts are read, changed and written, so two must not do so at once."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (COUNT_LOCK,))


def liked_ids(reactions: bytes | memoryview) -> Int64Array:
    """Return the liked posts (n,) of packed reactions, oldest like first."""
    signed = np.frombuffer(reactions, "<i8")
    return signed[signed > 0]


def apply_changes(changes: Sequence[Likes], now: datetime) -> None:
    """Add the changes to the counts, and pack the nearest co-likes of every post whose counts changed."""
    pairs = add_counts(piece for before, after in changes for piece in count_change(before, after))
    like_counts: Counter[int] = Counter()
    for before, after in changes:
        like_counts.update(after.tolist())
        like_counts.subtract(before.tolist())
    changed = {post_id: change for post_id, change in like_counts.items() if change}
    post_ids = np.union1d(pairs.sources, np.array(list(changed), np.int64))
    add_like_counts(changed, now)
    for start in range(0, len(post_ids), ROWS_PER_QUERY):
        add_pairs(post_ids[start : start + ROWS_PER_QUERY], pairs, now)


def add_like_counts(changes: dict[int, int], now: datetime) -> None:
    """
    Add *changes* to how many members like each post. First of all, because weights depend on both posts' counts.

    Raises `InconsistentCountsError`.
    """
    counts = read_like_counts(list(changes))
    changed = {post_id: counts.get(post_id, 0) + change for post_id, change in changes.items()}
    if min(changed.values(), default=0) < 0:
        raise InconsistentCountsError
    CoLikes.objects.bulk_create(
        [CoLikes(post_id=post_id, like_count=count, changed_at=now) for post_id, count in changed.items()],
        update_conflicts=True,
        unique_fields=["post_id"],
        update_fields=["like_count", "changed_at"],
        batch_size=ROWS_PER_QUERY,
    )


def read_like_counts(post_ids: Sequence[int]) -> dict[int, int]:
    """Return how many members like each of the posts that have a row."""
    counts: dict[int, int] = {}
    for start in range(0, len(post_ids), ROWS_PER_QUERY):
        rows = CoLikes.objects.filter(pk__in=post_ids[start : start + ROWS_PER_QUERY])
        counts |= dict(rows.values_list("post_id", "like_count"))
    return counts


def add_pairs(post_ids: Int64Array, pairs: PairCounts, now: datetime) -> None:
    """Add those of *pairs* whose source is one of *post_ids* (n,), which is sorted, to the counts of these posts."""
    stored = {row.post_id: read_counts(row) for row in CoLikes.objects.filter(pk__in=post_ids.tolist())}
    updated = {post_id: add_to_counts(stored.get(post_id, NO_COUNTS), post_id, pairs) for post_id in post_ids.tolist()}
    targets = np.unique(np.concatenate([counts.target_ids for counts in updated.values()]))
    like_counts = read_like_counts(targets.tolist())
    target_counts = np.array([like_counts.get(target, 0) for target in targets.tolist()], np.int64)
    CoLikes.objects.bulk_create(
        [
            CoLikes(
                post_id=post_id,
                like_count=counts.like_count,
                target_ids=counts.target_ids.astype("<i8").tobytes(),
                together=counts.together.astype("<i4").tobytes(),
                after=counts.after.astype("<i4").tobytes(),
                nearest=pack_nearest(counts, target_counts[np.searchsorted(targets, counts.target_ids)]),
                changed_at=now,
            )
            for post_id, counts in updated.items()
        ],
        update_conflicts=True,
        unique_fields=["post_id"],
        update_fields=["target_ids", "together", "after", "nearest", "changed_at"],
    )
    # A post that nobody likes any more, because its likes were undone or erased, leaves nothing behind.
    CoLikes.objects.filter(pk__in=post_ids.tolist(), like_count=0, target_ids=b"").delete()


NO_COUNTS = PostCounts(0, np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def read_counts(row: CoLikes) -> PostCounts:
    """Return the counts of a row."""
    return PostCounts(
        row.like_count,
        np.frombuffer(row.target_ids, "<i8"),
        np.frombuffer(row.together, "<i4"),
        np.frombuffer(row.after, "<i4"),
    )


def add_to_counts(counts: PostCounts, post_id: int, pairs: PairCounts) -> PostCounts:
    """Return the counts of a post with those of *pairs* added whose source it is."""
    added = slice(*np.searchsorted(pairs.sources, [post_id, post_id + 1]))
    total = add_counts(
        PairCounts(np.zeros(len(targets), np.int64), targets, together, after)
        for targets, together, after in (
            (counts.target_ids, counts.together, counts.after),
            (pairs.targets[added], pairs.together[added], pairs.after[added]),
        )
    )
    return PostCounts(counts.like_count, total.targets, total.together, total.after)
