"""
The item weight table: how much a reaction to one post speaks for each other post.

`recommendations/training/item_weights.py` trains it and says how. A score is the sum over the member's newest reactions
of strength · weight, so an event costs at most a thousand additions, and a new member needs no training.
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
    round_unit,
)
from recommendations.contracts import Int32Array, Int64Array

NO_TARGETS: Int32Array = np.zeros(0, np.int32)
NO_WEIGHTS: Int16Array = np.zeros(0, np.int16)


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
        ids, strengths = np.array(reactions, np.int64).reshape(-1, 2).T
        positions = self.positions_of(ids)
        is_known = positions >= 0
        starts, ends = self.starts[positions[is_known]], self.starts[positions[is_known] + 1]
        # Copying one slice per reaction takes a fifth of the time of indexing every entry.
        slices = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return PartScores(
            source_ids=ids[is_known],
            strengths=strengths[is_known],
            lengths=ends - starts,
            keys=np.concatenate([NO_TARGETS, *(self.targets[part] for part in slices)]),
            weights=np.concatenate([NO_WEIGHTS, *(self.weights[part] for part in slices)]),
            key_ids=self.post_ids,
            unit=round_unit(WEIGHT_UNIT / FULL_STRENGTH / scale),
        )

    def positions_of(self, post_ids: Int64Array) -> Int64Array:
        """Return the position (n,) of each of *post_ids* (n,) in the table, -1 where it has none."""
        if not len(self.post_ids):
            return np.full(len(post_ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.post_ids, post_ids), len(self.post_ids) - 1)
        return np.where(self.post_ids[at] == post_ids, at, -1)
