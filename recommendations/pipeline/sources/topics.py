"""Posts about what the viewer likes to read about."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import EMPTY_IDS, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

MAX_TOPICS = 5
"""The topics liked best that posts are sought for. Changes the answer."""


@dataclass(frozen=True)
class Topics:
    """The newest posts whose main tag is one of the topics that the viewer likes best."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TOPIC, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        liked = query.topic_affinity
        best = np.argsort(-liked.weights, kind="stable")[:MAX_TOPICS]
        best = best[liked.weights[best] > 0]
        if not len(best):
            return EMPTY_IDS
        return self.catalogue.newest_by_topics(
            np.sort(liked.ids[best]).astype(np.int32), query.policy.topic_candidates, eligible
        )
