"""
The item weight table: how much a reaction to one post speaks for each other post.

`recommendations/training/item_weights.py` trains it and says how. A score is the sum over the member's newest reactions
of strength · weight, so an event costs a few hundred additions, and a new member needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommendations.collaborative.part_scores import (
    FULL_STRENGTH,
    WEIGHT_UNIT,
    Int16Array,
    PartScores,
    RelatedPosts,
    round_unit,
)
from recommendations.contracts import Int32Array, Int64Array


@dataclass(frozen=True)
class ItemWeightTable:
    """For each post, the posts that a reaction to it speaks for or against. The arrays may be memory-mapped files."""

    post_ids: Int64Array  # (p,) sorted
    starts: Int64Array  # (p + 1,) where the entries of each post start
    targets: Int32Array  # (e,) positions in *post_ids*, sorted within the entries of a post
    weights: Int16Array  # (e,) in units of `WEIGHT_UNIT`, never 0

    def score(self, reactions: Sequence[tuple[int, int]], *, scale: float) -> PartScores:
        """
        Return the part of a member with these *reactions* (post id, strength), each post once.

        A score of *scale* becomes a part of 1.
        """
        positions = self.positions_of(np.array([post_id for post_id, _ in reactions], np.int64)).tolist()
        related = [
            RelatedPosts(post_id, strength, *self.entries_of(position))
            for (post_id, strength), position in zip(reactions, positions, strict=True)
            if position >= 0
        ]
        return PartScores(related, round_unit(WEIGHT_UNIT / FULL_STRENGTH / scale), self.post_ids)

    def positions_of(self, post_ids: Int64Array) -> Int64Array:
        """Return the position (n,) of each of *post_ids* (n,) in the table, -1 where it has none."""
        if not len(self.post_ids):
            return np.full(len(post_ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.post_ids, post_ids), len(self.post_ids) - 1)
        return np.where(self.post_ids[at] == post_ids, at, -1)

    def entries_of(self, position: int) -> tuple[Int32Array, Int16Array]:
        """Return the targets and the weights (n,) of the post at *position*."""
        entries = slice(int(self.starts[position]), int(self.starts[position + 1]))
        return self.targets[entries], self.weights[entries]
