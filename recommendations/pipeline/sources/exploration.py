"""
Posts that were served to few members. Without this source, only popular posts would be served.

Half of the posts that a request considers are the newest, so that new posts find their audience first. The others are
drawn from a pool of older ones, so that the pages of different members explore different posts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

NEWEST = 250
"""How many of the newest posts in exploration each request considers. Changes the answer."""
OLDER = 250
"""How many older posts each request considers. Changes the answer, and slightly the speed."""
POOL_SIZE = 5_000
"""How many of the newest posts in exploration the others are drawn from. Changes the answer."""


@dataclass(frozen=True)
class Exploration:
    """
    Posts that were served to few members, chosen by Thompson sampling (Thompson 1933, "On the likelihood …").

    The rate of positive interactions of each post is drawn from Beta(1 + positive_count, 1 + served_count -
    positive_count), and the posts with the highest rates are returned. The request id seeds the draw, so the same
    request draws the same posts. The exploration of a post ends after it was served `exploration_max_served` times, or
    when it does worse than the average with certainty (`Catalogue.exploration_posts`).
    """

    catalogue: Catalogue
    origin: Origin = field(default=Origin.EXPLORATION, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        ids, positive_count, served_count = self.catalogue.exploration_posts(
            query.policy.exploration_max_served, POOL_SIZE, eligible
        )
        rng = np.random.default_rng(query.request_id.int)
        if len(ids) > NEWEST + OLDER:
            older = rng.choice(np.arange(NEWEST, len(ids)), OLDER, replace=False)
            considered = np.concatenate([np.arange(NEWEST), older])
            ids, positive_count, served_count = ids[considered], positive_count[considered], served_count[considered]
        rates = rng.beta(1 + positive_count, 1 + np.maximum(served_count - positive_count, 0))
        return ids[np.argsort(-rates, kind="stable")[: query.policy.exploration_candidates]]
