"""Posts that few members know. Without this source, only popular posts would be served."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

POOL_SIZE = 1_000
"""How many posts in exploration are drawn from. Changes the answer, and slightly the speed."""


@dataclass(frozen=True)
class Exploration:
    """
    Posts that few members know, chosen by Thompson sampling (Thompson 1933, "On the likelihood …").

    One half of the pool are the newest posts in exploration, the other half are drawn from all of them, so that a post
    that was not served while it was new has a chance later. The rate of positive interactions of each post is drawn
    from Beta(1 + successes, 1 + looks - successes), and the posts with the highest rates are returned. The request id
    seeds both draws, so the same request returns the same posts. The exploration of a post ends after
    `exploration_max_served` times served or positive interactions, or when it does worse than the average with
    certainty (`Catalogue.exploration_posts`).
    """

    catalogue: Catalogue
    origin: Origin = field(default=Origin.EXPLORATION, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        rng = np.random.default_rng(query.request_id.int)
        ids, success_count, seen_count = self.catalogue.exploration_posts(
            query.policy.exploration_max_served, POOL_SIZE, eligible, rng
        )
        rates = rng.beta(1 + success_count, 1 + seen_count - success_count)
        return ids[np.argsort(-rates, kind="stable")[: query.policy.exploration_candidates]]
