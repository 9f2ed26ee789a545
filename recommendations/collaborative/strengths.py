"""
How much each reaction of a member counts, in whole numbers of 1 / `FULL_STRENGTH`.

Item weights count many likes alike, because the table was trained on whole histories: the newest 100 alone find a fifth
less of the NDCG by global time (docs/evaluation.md). Co-likes count the newest likes, the latest most. What is liked
together with a post says what a member likes these days, and what is liked next says what comes after the last few.
A rejection counts against what a like would count for, with less strength: a post that a member rejected still says
what they look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recommendations.collaborative.part_scores import FULL_STRENGTH
from recommendations.contracts import Int64Array

MAX_WEIGHTED = 500
"""Newest likes, and newest rejections, that item weights use. Changes the answer and the speed."""
CO_LIKED_FACTORS = 0.85 ** np.arange(20)
"""How much each of the newest likes, and of the newest rejections, counts for what is liked together with it, newest
first. Changes the answer and the speed."""
LIKED_NEXT_FACTORS = 0.7 ** np.arange(5)
"""The same for what is liked next. Changes the answer and the speed."""
REJECTION = 0.25
"""How much a rejection counts, as a fraction of a like. Changes the answer."""

Strengths = list[tuple[int, int]]
"""Post ids with the strength of the member's reaction, each post once."""


def weigh_all(signed_ids: Int64Array) -> Strengths:
    """Return the strengths for item weights of reactions (n,), oldest first, as signed ids (`Reactions`)."""
    return weigh(signed_ids, np.ones(MAX_WEIGHTED))


def weigh_latest(signed_ids: Int64Array) -> dict[str, Strengths]:
    """Return the strengths for each part of co-likes of reactions (n,), as `weigh_all` takes them."""
    return {"co_liked": weigh(signed_ids, CO_LIKED_FACTORS), "liked_next": weigh(signed_ids, LIKED_NEXT_FACTORS)}


def list_posts(by_part: Mapping[str, Strengths]) -> list[int]:
    """Return the posts that have a strength in any part, each once."""
    return list(dict.fromkeys(post_id for strengths in by_part.values() for post_id, _ in strengths))


def weigh(signed_ids: Int64Array, factors: Sequence[float] | np.ndarray) -> Strengths:
    """Return the strengths of the newest likes, and of the newest rejections, by *factors* (k,), newest first."""
    newest_first = signed_ids[::-1]
    likes, rejections = newest_first[newest_first > 0].tolist(), (-newest_first[newest_first < 0]).tolist()
    strengths = [(post_id, round(FULL_STRENGTH * f)) for post_id, f in zip(likes, factors, strict=False)]
    strengths += [(id, -round(FULL_STRENGTH * REJECTION * f)) for id, f in zip(rejections, factors, strict=False)]
    return strengths
