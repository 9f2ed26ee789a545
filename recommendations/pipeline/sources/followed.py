"""Posts by authors whom the viewer follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from recommendations.contracts import EMPTY_IDS, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue


@dataclass(frozen=True)
class FollowedAuthors:
    """The newest posts of followed authors."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.FOLLOWED, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        if not len(query.followed_author_ids):
            return EMPTY_IDS
        return self.catalogue.newest_by_authors(query.followed_author_ids, query.policy.followed_candidates, eligible)
