"""Posts that need nothing known of the viewer but the region."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Int64Array, Origin, Query, is_in_sorted
from recommendations.ports import Catalogue


@dataclass(frozen=True)
class Trending:
    """The posts with the most engagement of late: half of them in the viewer's region, the others anywhere."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TRENDING, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        count = query.policy.trending_candidates
        if query.region_id == UNKNOWN:
            return self.catalogue.trending(count, eligible)
        near = self.catalogue.trending_in_region(query.region_id, count // 2, eligible)
        anywhere = self.catalogue.trending(count, eligible)
        return np.concatenate([near, anywhere[~is_in_sorted(anywhere, np.sort(near))]])[:count]


@dataclass(frozen=True)
class Fresh:
    """The newest posts. It brings at least a slate's worth, so that a catalogue that nobody touched gives a feed."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.FRESH, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        return self.catalogue.newest(max(query.policy.fresh_candidates, query.size), eligible)
