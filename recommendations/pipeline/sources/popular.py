"""Posts that need nothing known of the viewer."""

from __future__ import annotations

from dataclasses import dataclass, field

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue


@dataclass(frozen=True)
class Trending:
    """The posts with the most engagement of late."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TRENDING, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        return self.catalogue.trending(query.policy.trending, eligible)


@dataclass(frozen=True)
class Fresh:
    """The newest posts. It brings at least a slate's worth, so that a catalogue that nobody touched gives a feed."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.FRESH, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        return self.catalogue.newest(max(query.policy.fresh, query.size), eligible)
