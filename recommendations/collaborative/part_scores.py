"""
Scores that are sums over a member's reactions, with every addend known.

Weights are whole numbers of a unit, and so are the strengths of reactions. Sums of whole numbers are exact in any
order, so the contributions that an explanation shows add up to the score to the last bit, and two processes always
agree.
"""

from __future__ import annotations

import math
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
ENTRIES_PER_SUM = 2**15
"""Entries that are added in one call: the arrays of a call stay in the processor's cache. Changes the speed."""


def round_unit(unit: float) -> float:
    """
    Return *unit* rounded to `UNIT_BITS` significant bits.

    Its product with a whole number below 2^45 is then exact in float64, and so is any sum of such products.
    """
    fraction, exponent = math.frexp(unit)
    return math.ldexp(round(fraction * 2**UNIT_BITS), exponent - UNIT_BITS)


@dataclass(frozen=True)
class PartScores:
    """One score part of a member: 0 for a post that no reaction speaks for."""

    source_ids: Int64Array  # (r,) the post of each reaction
    strengths: Int64Array  # (r,) below 2^15 in absolute value
    lengths: Int64Array  # (r,) how many posts each reaction speaks for or against
    keys: Int64Array | Int32Array  # (e,) those posts, reaction after reaction: positions in *key_ids*
    weights: Int16Array  # (e,) in units of `WEIGHT_UNIT`
    key_ids: Int64Array  # (k,) post ids, sorted
    unit: float
    """The value of a total of 1."""

    @cached_property
    def entry_strengths(self) -> Int16Array:
        """The strength (e,) of the reaction of each entry."""
        return np.repeat(self.strengths.astype(np.int16), self.lengths)

    @cached_property
    def affinity(self) -> Affinity:
        """
        The scores that are not 0, by post id.

        Strengths times weights are whole numbers, which float64 adds exactly, so the order does not matter.
        """
        totals = np.zeros(len(self.key_ids))
        for start in range(0, len(self.keys), ENTRIES_PER_SUM):
            part = slice(start, start + ENTRIES_PER_SUM)
            addends = np.multiply(self.weights[part], self.entry_strengths[part], dtype=np.float64)
            totals += np.bincount(self.keys[part], addends, len(totals))
        used = np.flatnonzero(totals)
        return Affinity(self.key_ids[used], (totals[used] * self.unit).astype(np.float32))

    def contributions(self, post_ids: Int64Array) -> Contributions:
        """Return the contributions to the part of each of *post_ids* (n,), each once."""
        totals = np.zeros((len(self.source_ids), len(post_ids)), np.int64)
        if len(self.keys) and len(post_ids):
            at = np.minimum(np.searchsorted(self.key_ids, post_ids), len(self.key_ids) - 1)
            is_known = self.key_ids[at] == post_ids
            columns = np.full(len(self.key_ids), -1, np.int32)
            columns[at[is_known]] = np.flatnonzero(is_known)
            entry_columns = columns[self.keys]
            entries = np.flatnonzero(entry_columns >= 0)
            rows = np.searchsorted(np.cumsum(self.lengths), entries, "right")
            addends = np.multiply(self.weights[entries], self.entry_strengths[entries], dtype=np.int64)
            totals[rows, entry_columns[entries]] = addends
        return Contributions(self.source_ids, totals, self.unit)
