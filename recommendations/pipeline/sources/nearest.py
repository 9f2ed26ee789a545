"""Posts similar to the viewer's interests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import EMPTY_IDS, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue, Engine


@dataclass(frozen=True)
class Nearest:
    """The posts nearest to each interest. A heavier interest contributes more posts."""

    engine: Engine
    catalogue: Catalogue
    origin: Origin = field(default=Origin.NEAREST, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`. One scan finds the posts of all interests."""
        heaviest = np.argsort(-query.interests.positive_weights, kind="stable")[: query.policy.max_interests]
        weights = query.interests.positive_weights[heaviest]
        if not len(weights) or not query.policy.nearest_candidates:
            return EMPTY_IDS
        shares = np.ceil(query.policy.nearest_candidates * weights / weights.sum()).astype(int)
        rows, cosines = self.engine.nearest(query.interests.positive[heaviest], int(shares.max()), eligible)
        is_within_share = (np.arange(rows.shape[1]) < shares[:, None]) & np.isfinite(cosines)
        value = (cosines * weights[:, None])[is_within_share]
        chosen = rows[is_within_share][np.argsort(-value, kind="stable")]
        _, first = np.unique(chosen, return_index=True)
        return self.catalogue.all_posts().post_ids[chosen[np.sort(first)]][: query.policy.nearest_candidates]
