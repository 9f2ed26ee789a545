"""New posts that look for their audience: a few are shown to some, so that a post need not be known to become known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

POOL = 500
"""The newest posts on audition that the draw is among. Changes the answer, and a little the speed."""


@dataclass(frozen=True)
class Audition:
    """
    Posts that few have met, drawn by what their rate of positive acts may be (Thompson 1933, "On the likelihood …").

    Each post's rate is drawn from Beta(1 + positives, 1 + impressions - positives), and the highest are brought.
    The draw is seeded by the request, so that a request that is made again draws the same. An audition ends after
    `audition_impressions`, or when the post is certain to do worse than the usual one (`Catalogue.on_audition`).
    """

    catalogue: Catalogue
    origin: Origin = field(default=Origin.AUDITION, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        ids, positives, impressions = self.catalogue.on_audition(query.policy.audition_impressions, POOL, eligible)
        rng = np.random.default_rng(query.request_id.int)
        rates = rng.beta(1 + positives, 1 + np.maximum(impressions - positives, 0))
        return ids[np.argsort(-rates, kind="stable")[: query.policy.auditions]]
