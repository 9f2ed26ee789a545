"""
Counts of what members liked together, and of what they liked after what.

A member's likes in order of time give two kinds of pair. Each like is *together* with each of the `TOGETHER_SPAN` likes
before it, in both directions. It also comes *after* each of the likes before it, in one direction: the nearer, the more
it counts (`AFTER_COUNTS`).

Both are whole numbers, so counts can be added and subtracted without rounding: the sum of the counts of all members
equals a full recount, and subtracting a member's counts equals a recount without the member.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Int32Array, Int64Array

TOGETHER_SPAN = 20
"""Likes of a member before a like that are together with it. Changes the answer, and the cost of an event."""
AFTER_COUNTS = (60, 30, 20, 15, 12)
"""How much a like counts as after each of the likes before it, nearest first: 60 / distance, a whole number."""


@dataclass(frozen=True)
class PairCounts:
    """Counts of ordered pairs of posts, sorted by pair, each pair once."""

    sources: Int64Array  # (n,) post ids: liked
    targets: Int64Array  # (n,) post ids: liked with or after the source
    together: Int32Array  # (n,) members
    after: Int32Array  # (n,) sums of `AFTER_COUNTS`

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def empty(cls) -> PairCounts:
        """Return no counts."""
        ids, counts = np.zeros(0, np.int64), np.zeros(0, np.int32)
        return cls(ids, ids, counts, counts)

    def __neg__(self) -> PairCounts:
        return PairCounts(self.sources, self.targets, -self.together, -self.after)


def count_pairs(liked_ids: Int64Array, *, since: int = 0) -> PairCounts:
    """
    Return the counts of one member who liked these posts (n,), oldest first, each once.

    With *since*, only pairs whose later like is at that position or after it: the counts that new likes add.
    """
    pieces = []
    for distance in range(1, min(TOGETHER_SPAN, len(liked_ids) - 1) + 1):
        later = np.arange(max(since, distance), len(liked_ids))
        earlier_posts, later_posts = liked_ids[later - distance], liked_ids[later]
        ones, zeros = np.ones(len(later), np.int32), np.zeros(len(later), np.int32)
        after = ones * AFTER_COUNTS[distance - 1] if distance <= len(AFTER_COUNTS) else zeros
        pieces.append(PairCounts(earlier_posts, later_posts, ones, after))
        pieces.append(PairCounts(later_posts, earlier_posts, ones, zeros))
    return add_counts(pieces)


def count_change(before: Int64Array, after: Int64Array) -> list[PairCounts]:
    """
    Return the counts to add when a member's likes (n,), oldest first, change from *before* to *after*.

    The usual change appends likes. It costs only the pairs of the new likes.
    """
    kept = len(before)
    if kept <= len(after) and np.array_equal(after[:kept], before):
        return [count_pairs(after, since=kept)]
    return [-count_pairs(before), count_pairs(after)]


def add_counts(parts: Iterable[PairCounts]) -> PairCounts:
    """Return the sum of *parts*. Pairs whose counts are all 0 are left out. The order of *parts* does not matter."""
    pieces = [PairCounts.empty(), *parts]
    sources, targets, together, after = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("sources", "targets", "together", "after")
    )
    if not len(sources):
        return pieces[0]
    order = np.lexsort((targets, sources))
    sources, targets = sources[order], targets[order]
    is_first = np.ones(len(sources), np.bool_)
    is_first[1:] = (np.diff(sources) != 0) | (np.diff(targets) != 0)
    starts = np.flatnonzero(is_first)
    sums = [np.add.reduceat(counts[order], starts, dtype=np.int32) for counts in (together, after)]
    is_used = (sums[0] != 0) | (sums[1] != 0)
    return PairCounts(sources[starts][is_used], targets[starts][is_used], sums[0][is_used], sums[1][is_used])
