"""
How much each reaction of a member counts, in whole numbers of 1 / `FULL_STRENGTH`.

Item weights count many likes alike, because the table was trained on whole histories: the newest 100 alone find a fifth
less of the NDCG by global time (docs/evaluation.md). Co-likes count the last few, the latest most, because they
answer what comes after them. A rejection counts against what a like would count for, with less strength: a post that a
member rejected still says what they look at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recommendations.collaborative.part_scores import FULL_STRENGTH
from recommendations.contracts import Int64Array

MAX_WEIGHTED = 500
"""Newest likes, and newest rejections, that item weights use. Changes the answer and the speed."""
MAX_LATEST = 5
"""Newest likes, and newest rejections, that co-likes use. Changes the answer and the speed."""
LATEST_DECAY = 0.7
"""How much the reaction before one counts, as a fraction of it, among the latest. Changes the answer."""
REJECTION = 0.25
"""How much a rejection counts, as a fraction of a like. Changes the answer."""

Strengths = list[tuple[int, int]]
"""Post ids with the strength of the member's reaction, each post once."""


def weigh_all(signed_ids: Int64Array) -> Strengths:
    """Return the strengths for item weights of reactions (n,), oldest first, as signed ids (`Reactions`)."""
    return weigh(signed_ids, np.ones(MAX_WEIGHTED))


def weigh_latest(signed_ids: Int64Array) -> Strengths:
    """Return the strengths for co-likes of reactions (n,), as `weigh_all` takes them."""
    return weigh(signed_ids, LATEST_DECAY ** np.arange(MAX_LATEST))


def weigh(signed_ids: Int64Array, factors: Sequence[float] | np.ndarray) -> Strengths:
    """Return the strengths of the newest likes, and of the newest rejections, by *factors* (k,), newest first."""
    newest_first = signed_ids[::-1]
    likes, rejections = newest_first[newest_first > 0].tolist(), (-newest_first[newest_first < 0]).tolist()
    strengths = [(post_id, round(FULL_STRENGTH * f)) for post_id, f in zip(likes, factors, strict=False)]
    strengths += [(id, -round(FULL_STRENGTH * REJECTION * f)) for id, f in zip(rejections, factors, strict=False)]
    return strengths
