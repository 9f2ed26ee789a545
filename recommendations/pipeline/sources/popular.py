"""Trending and new posts. They depend on no fact of the viewer except the region."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Int64Array, Origin, Query, is_in_sorted
from recommendations.ports import Catalogue


@dataclass(frozen=True)
class Trending:
    """The posts with the highest recent engagement: half of them by engagement in the viewer's region."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TRENDING, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        count = query.policy.trending_candidates
        if query.region_id == UNKNOWN:
            return self.catalogue.trending(count, eligible)
        regional = self.catalogue.trending_in_region(query.region_id, count // 2, eligible)
        overall = self.catalogue.trending(count, eligible)
        return np.concatenate([regional, overall[~is_in_sorted(overall, np.sort(regional))]])[:count]


@dataclass(frozen=True)
class Fresh:
    """The newest posts: at least enough for a slate, so that a catalogue without interactions gives a full feed."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.FRESH, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        return self.catalogue.newest(max(query.policy.fresh_candidates, query.size), eligible)
