"""The kernel's operations in float64 NumPy, in their most direct form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def normalize_rows(vectors: Array) -> Array:
    """Return vectors (n, d) at unit length in float64; zeros stay zeros."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)


def cosine(query: Array, vectors: Array) -> Array:
    """Return the cosine (n,) of a query (d,) with each vector."""
    return normalize_rows(vectors) @ normalize_rows(query[None])[0]


def scan_topk(vectors: Array, ids: Array, eligible: Array, query: Array, k: int) -> Array:
    """Return at most k row numbers, best first, ties by the lower id."""
    order = np.lexsort((ids, -cosine(query, vectors)))
    return order[eligible[order]][:k]


def score_candidates(
    vectors: Array, interests: Array, interest_weights: Array, columns: Array, weights: Array, rejected_count: int = 0
) -> Array:
    """Return the weighted parts (n, p)."""
    cosines = normalize_rows(vectors) @ normalize_rows(interests).T * interest_weights
    liked_count = len(interests) - rejected_count
    taste = np.zeros(len(vectors)) if not liked_count else cosines[:, :liked_count].max(axis=1)
    dislike = [np.maximum(cosines[:, liked_count:].max(axis=1), 0)] if rejected_count else []
    return np.column_stack([taste, *dislike, columns]) * weights


def diversify(
    vectors: Array, scores: Array, groups: Array, ids: Array, k: int, trade_off: float, cap: int
) -> list[int]:
    """Return positions by greedy maximal marginal relevance with a cap for each group."""
    similarity = normalize_rows(vectors) @ normalize_rows(vectors).T
    picked: list[int] = []
    while len(picked) < k:
        free = [
            i
            for i in range(len(scores))
            if i not in picked and (groups[i] < 0 or sum(groups[p] == groups[i] for p in picked) < cap)
        ]
        if not free:
            break
        nearest = [max([0.0, *(similarity[i, p] for p in picked)]) for i in free]
        values = [(1 - trade_off) * scores[i] - trade_off * near for i, near in zip(free, nearest, strict=True)]
        picked.append(free[np.lexsort((ids[free], -np.array(values)))[0]])
    return picked
