"""Posts that other members' likes connect with the viewer's reactions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import EMPTY_IDS, Affinity, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

PARTS = {Origin.ITEM_WEIGHTS: "item_weights", Origin.CO_LIKED: "co_liked", Origin.LIKED_NEXT: "liked_next"}
"""The field of `Query` that each source takes the best posts of."""


@dataclass(frozen=True)
class Collaborative:
    """The posts with the highest score in one collaborative part."""

    origin: Origin
    catalogue: Catalogue

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        scores: Affinity = getattr(query, PARTS[self.origin])
        count = query.policy.collaborative_candidates
        if not count or not len(scores.ids) or not getattr(query.policy, PARTS[self.origin]):
            return EMPTY_IDS
        return best_eligible(scores, count, self.catalogue, eligible)


def best_eligible(scores: Affinity, count: int, catalogue: Catalogue, eligible: BoolArray) -> Int64Array:
    """Return the ids of the *count* eligible posts with the highest scores above 0, best first."""
    is_positive = scores.weights > 0
    ids, weights = scores.ids[is_positive], scores.weights[is_positive]
    rows = catalogue.rows_of(ids)
    is_known = (rows >= 0) & (rows < len(eligible))
    is_known[is_known] = eligible[rows[is_known]]
    ids, weights = ids[is_known], weights[is_known]
    if count < len(ids):
        best = np.argpartition(-weights, count)[:count]
        ids, weights = ids[best], weights[best]
    return ids[np.lexsort((ids, -weights))]
