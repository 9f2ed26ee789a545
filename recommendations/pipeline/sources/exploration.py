"""New posts that were served to few members. Without this source, only popular posts would be served."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

POOL_SIZE = 500
"""How many of the newest posts in exploration are drawn from. Changes the answer, and slightly the speed."""


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
        rates = rng.beta(1 + positive_count, 1 + np.maximum(served_count - positive_count, 0))
        return ids[np.argsort(-rates, kind="stable")[: query.policy.exploration_candidates]]
