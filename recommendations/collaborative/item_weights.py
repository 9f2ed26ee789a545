"""
The item weight table: how much a reaction to one post speaks for each other post.

`recommendations/training/item_weights.py` trains it and says how. A score is the sum over the member's newest reactions
of strength · weight, so an event costs a few hundred additions, and a new member needs no training.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy import int16
from numpy.typing import NDArray

from recommendations.contracts import Int32Array, Int64Array

Int16Array = NDArray[int16]

WEIGHT_UNIT = 2.0**-14
"""Weights are multiples of this, so they are below 2 in absolute value."""


@dataclass(frozen=True)
class ItemWeightTable:
    """For each post, the posts that a reaction to it speaks for or against. The arrays may be memory-mapped files."""

    post_ids: Int64Array  # (p,) sorted
    starts: Int64Array  # (p + 1,) where the entries of each post start
    targets: Int32Array  # (e,) positions in *post_ids*, sorted within the entries of a post
    weights: Int16Array  # (e,) in units of `WEIGHT_UNIT`, never 0
