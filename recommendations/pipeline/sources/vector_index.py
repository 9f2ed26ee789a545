"""Posts like what the viewer liked, from the vector index: also those too old or too cold to be resident."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import (
    EMPTY_IDS,
    MAX_COLD_POSTS,
    UNKNOWN,
    BoolArray,
    IndexFilter,
    Int64Array,
    Origin,
    Query,
)
from recommendations.ports import VectorIndex


@dataclass(frozen=True)
class VectorIndexSource:
    """The posts of the index nearest to each interest, few of one author; the mask over resident rows says nothing."""

    index: VectorIndex
    origin: Origin = field(default=Origin.INDEXED, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`. The interests take turns, the heaviest first."""
        heaviest = np.argsort(-query.interests.positive_weights, kind="stable")[: query.policy.max_interests]
        count = min(MAX_COLD_POSTS, query.policy.nearest_candidates)
        if not len(heaviest) or not count:
            return EMPTY_IDS
        each = -(-count // len(heaviest))
        wanted = IndexFilter.for_query(query, author_cap=query.policy.author_cap)
        ids = self.index.nearest(query.interests.positive[heaviest], each, wanted)[0].T.ravel()
        _, first = np.unique(ids, return_index=True)
        ids = ids[np.sort(first)]
        return ids[ids != UNKNOWN][:count]
