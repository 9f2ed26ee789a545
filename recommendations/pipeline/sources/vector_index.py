"""Posts similar to the viewer's interests, from the vector index, which includes non-resident posts."""

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
    """The posts of the index nearest to each interest, with a cap per author. Ignores the mask over resident rows."""

    index: VectorIndex
    origin: Origin = field(default=Origin.INDEXED, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`. Takes one post of each interest in turn, starting with the heaviest interest."""
        heaviest = np.argsort(-query.interests.positive_weights, kind="stable")[: query.policy.max_interests]
        count = min(MAX_COLD_POSTS, query.policy.nearest_candidates)
        if not len(heaviest) or not count:
            return EMPTY_IDS
        per_interest = -(-count // len(heaviest))
        index_filter = IndexFilter.for_query(query, author_cap=query.policy.author_cap)
        ids = self.index.nearest(query.interests.positive[heaviest], per_interest, index_filter)[0].T.ravel()
        _, first = np.unique(ids, return_index=True)
        ids = ids[np.sort(first)]
        return ids[ids != UNKNOWN][:count]
