"""
Counts of what members liked together, and of what they liked after what.

A member's likes in order of time give two kinds of pair. Each like is *together* with each of the `TOGETHER_SPAN` likes
before it, in both directions, and comes *next* after each of the `NEXT_SPAN` likes before it, in one direction: the
nearer, the more it counts. Both are whole numbers, so counts can be added and subtracted without rounding: the sum of
the counts of all members equals the counts of a full rebuild, and subtracting a member's counts equals a rebuild
without the member.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Int32Array, Int64Array

TOGETHER_SPAN = 20
"""Likes of a member before a like that are together with it. Changes the answer, and the cost of an event."""
NEXT_COUNTS = (60, 30, 20, 15, 12)
"""How much a like counts as the next after the likes before it, nearest first: 60 / distance, a whole number."""
NEXT_SPAN = len(NEXT_COUNTS)


@dataclass(frozen=True)
class PairCounts:
    """Counts of ordered pairs of posts, sorted by pair, each pair once."""

    sources: Int64Array  # (n,) post ids: liked
    targets: Int64Array  # (n,) post ids: liked with or after the source
    together: Int32Array  # (n,) likes
    next: Int32Array  # (n,) sums of `NEXT_COUNTS`

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def empty(cls) -> PairCounts:
        """Return no counts."""
        ids, counts = np.zeros(0, np.int64), np.zeros(0, np.int32)
        return cls(ids, ids, counts, counts)

    def __neg__(self) -> PairCounts:
        return PairCounts(self.sources, self.targets, -self.together, -self.next)


def count_pairs(posts: Sequence[int] | Int64Array, *, since: int = 0) -> PairCounts:
    """
    Return the counts of one member who liked *posts* (n,), oldest first, each once.

    With *since*, only pairs whose later like is at that position or after it: the counts that new likes add.
    """
    liked = np.asarray(posts, np.int64)
    pieces = []
    for distance in range(1, min(TOGETHER_SPAN, len(liked) - 1) + 1):
        later = np.arange(max(since, distance), len(liked))
        earlier_posts, later_posts = liked[later - distance], liked[later]
        ones = np.ones(len(later), np.int32)
        following = ones * NEXT_COUNTS[distance - 1] if distance <= NEXT_SPAN else ones * 0
        pieces.append(PairCounts(earlier_posts, later_posts, ones, following))
        pieces.append(PairCounts(later_posts, earlier_posts, ones, ones * 0))
    return add_counts(pieces)


def add_counts(parts: Iterable[PairCounts]) -> PairCounts:
    """Return the sum of *parts*. Pairs whose counts are all 0 are left out. The order of *parts* does not matter."""
    pieces = list(parts)
    if not pieces:
        return PairCounts.empty()
    sources, targets, together, following = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("sources", "targets", "together", "next")
    )
    order = np.lexsort((targets, sources))
    sources, targets = sources[order], targets[order]
    is_first = np.ones(len(sources), np.bool_)
    is_first[1:] = (np.diff(sources) != 0) | (np.diff(targets) != 0)
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return PairCounts.empty()
    sums = [
        np.add.reduceat(counts[order].astype(np.int64), starts).astype(np.int32) for counts in (together, following)
    ]
    is_used = (sums[0] != 0) | (sums[1] != 0)
    return PairCounts(sources[starts][is_used], targets[starts][is_used], sums[0][is_used], sums[1][is_used])
