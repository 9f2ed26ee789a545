"""Trending, popular and new posts. They depend on no fact of the viewer except the region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Int64Array, Origin, Query
from recommendations.ports import Catalogue


@dataclass(frozen=True)
class Trending:
    """The posts that trend, and the most popular posts, overall and in the viewer's region: equally many of each."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.TRENDING, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        count = query.policy.trending_candidates
        lists = [self.catalogue.trending(count, eligible), self.catalogue.popular(count, eligible)]
        if query.region_id != UNKNOWN:
            lists += self.catalogue.posts_in_region(query.region_id, count, eligible)
        return take_in_turn(lists, count)


def take_in_turn(lists: Sequence[Int64Array], count: int) -> Int64Array:
    """Return the first *count* distinct posts of *lists*, of which each gives its best remaining post in turn."""
    post_ids = np.concatenate(lists)
    ranks = np.concatenate([np.arange(len(one)) for one in lists])
    in_turn = post_ids[np.argsort(ranks, kind="stable")]
    _, first = np.unique(in_turn, return_index=True)
    return in_turn[np.sort(first)[:count]]


@dataclass(frozen=True)
class Fresh:
    """The newest posts: at least enough for a slate, so that a catalogue without interactions gives a full feed."""

    catalogue: Catalogue
    origin: Origin = field(default=Origin.FRESH, init=False)

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """See `Source`."""
        return self.catalogue.newest(max(query.policy.fresh_candidates, query.size), eligible)
