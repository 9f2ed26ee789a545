"""New posts that look for their audience: a few are shown to some, so that a post need not be known to become known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

POOL_SIZE = 500
"""The newest posts on exploration that the draw is among. Changes the answer, and a little the speed."""


@dataclass(frozen=True)
class Exploration:
    """
    Posts that few have met, drawn by what their rate of positive acts may be (Thompson 1933, "On the likelihood …").

    Each post's rate is drawn from Beta(1 + positive_count, 1 + served_count - positive_count), and the highest are brought.
    The draw is seeded by the request, so that a request that is made again draws the same. An exploration ends after
    `exploration_max_served`, or when the post is certain to do worse than the usual one (`Catalogue.on_audition`).
    """

    catalogue: Catalogue
    origin: Origin = field(default=Origin.EXPLORATION, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        ids, positive_count, served_count = self.catalogue.exploration_posts(
            query.policy.exploration_max_served, POOL_SIZE, eligible
        )
        rng = np.random.default_rng(query.request_id.int)
        rates = rng.beta(1 + positive_count, 1 + np.maximum(served_count - positive_count, 0))
        return ids[np.argsort(-rates, kind="stable")[: query.policy.exploration_candidates]]
