"""
Scores that are sums over a member's reactions, with every addend known.

Weights are whole numbers of a unit, and so are strengths. Sums of whole numbers are exact in any order, so the
contributions that an explanation shows add up to the score to the last bit, and two processes always agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Affinity, Int64Array

STRENGTH_UNIT = 1 / 64
"""Strengths of reactions are multiples of this: 64 is a like of full strength."""
UNIT_BITS = 8


@dataclass(frozen=True)
class ItemScores:
    """
    The scores of posts for one member, as whole numbers: the score of a post is `totals` · `unit`.

    *post_ids* (n,) is sorted; any other post has the score 0.
    """

    post_ids: Int64Array  # (n,)
    totals: Int64Array  # (n,)
    unit: float

    def to_affinity(self) -> Affinity:
        """Return the scores as float32."""
        return Affinity(self.post_ids, (self.totals * self.unit).astype(np.float32))


def round_unit(unit: float) -> float:
    """
    Return *unit* rounded to `UNIT_BITS` significant bits.

    A product with a whole number below 2^45 is then exact in float64, and so is every sum of such products.
    """
    fraction, exponent = np.frexp(unit)
    return float(np.ldexp(np.round(fraction * 2**UNIT_BITS) / 2**UNIT_BITS, exponent))
