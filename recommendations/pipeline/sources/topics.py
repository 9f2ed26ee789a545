"""Posts about the topics that the viewer likes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import EMPTY_IDS, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue

MAX_TOPICS = 5
"""Number of topics, by highest affinity, that posts are taken from. Changes the answer."""


@dataclass(frozen=True)
class Topics:
    """The newest posts whose main tag is one of the topics with the viewer's highest affinity."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TOPIC, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        affinity = query.topic_affinity
        best = np.argsort(-affinity.weights, kind="stable")[:MAX_TOPICS]
        best = best[affinity.weights[best] > 0]
        if not len(best):
            return EMPTY_IDS
        return self.catalogue.newest_by_topics(
            np.sort(affinity.ids[best]).astype(np.int32), query.policy.topic_candidates, eligible
        )
