"""
Scores that are sums over a member's reactions, with every addend known.

Weights are whole numbers of a unit, and so are the strengths of reactions. Sums of whole numbers are exact in any
order, so the contributions that an explanation shows add up to the score to the last bit, and two processes always
agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import Affinity, Contributions, Int32Array, Int64Array

Int16Array = NDArray[np.int16]

WEIGHT_UNIT = 2.0**-14
"""Weights are multiples of this, so they are below 2 in absolute value."""
FULL_STRENGTH = 64
"""The strength of a like. Strengths are whole numbers, negative for a rejection."""
UNIT_BITS = 8


def round_unit(unit: float) -> float:
    """
    Return *unit* rounded to `UNIT_BITS` significant bits.

    Its product with a whole number below 2^45 is then exact in float64, and so is any sum of such products.
    """
    fraction, exponent = np.frexp(unit)
    return float(np.ldexp(np.round(fraction * 2**UNIT_BITS), exponent - UNIT_BITS))


@dataclass(frozen=True)
class RelatedPosts:
    """The posts that one reaction speaks for or against."""

    source_id: int
    """The post that the member reacted to."""
    strength: int
    keys: Int64Array | Int32Array  # (n,) which posts, each once: see `PartScores.key_ids`
    weights: Int16Array  # (n,) in units of `WEIGHT_UNIT`


@dataclass(frozen=True)
class PartScores:
    """One score part of a member: 0 for a post that no reaction speaks for."""

    related: Sequence[RelatedPosts]
    unit: float
    """The value of a total of 1."""
    key_ids: Int64Array | None = None
    """The post id of each key, sorted. None: keys are post ids."""

    @cached_property
    def affinity(self) -> Affinity:
        """The scores that are not 0, by post id."""
        if not self.related:
            return Affinity()
        keys, _, addends = self._entries
        if self.key_ids is None:
            used, positions = np.unique(keys, return_inverse=True)
            totals = np.bincount(positions, addends, len(used))
        else:
            totals = np.bincount(keys, addends, len(self.key_ids))
            positions = np.flatnonzero(totals)
            used, totals = self.key_ids[positions], totals[positions]
        return Affinity(used, (totals * self.unit).astype(np.float32))

    def contributions(self, post_ids: Int64Array) -> Contributions:
        """Return the contributions to the part of each of *post_ids* (n,), each once."""
        sources = np.array([item.source_id for item in self.related], np.int64)
        totals = np.zeros((len(sources), len(post_ids)), np.int64)
        if len(sources) and len(post_ids):
            keys, rows, addends = self._entries
            ids = keys if self.key_ids is None else self.key_ids[keys]
            order = np.argsort(post_ids, kind="stable")
            at = order[np.minimum(np.searchsorted(post_ids[order], ids), len(order) - 1)]
            is_asked = post_ids[at] == ids
            totals[rows[is_asked], at[is_asked]] = addends[is_asked]
        return Contributions(sources, totals, self.unit)

    @cached_property
    def _entries(self) -> tuple[Int64Array | Int32Array, Int64Array, Int64Array]:
        """The key, the row of the reaction, and strength · weight of every entry (n,) of all reactions."""
        lengths = [len(item.keys) for item in self.related]
        rows = np.repeat(np.arange(len(lengths)), lengths)
        weights = np.concatenate([item.weights for item in self.related]).astype(np.int64)
        strengths = np.array([item.strength for item in self.related], np.int64)
        return np.concatenate([item.keys for item in self.related]), rows, weights * np.repeat(strengths, lengths)
