"""Reads the facts of non-resident candidates from the database, for a limited number of posts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from recommendations.contracts import MAX_COLD_POSTS, UNKNOWN, Candidates, Query
from recommendations.ports import ColdPosts


@dataclass(frozen=True)
class ColdFacts:
    """Fills the columns of candidates that are not in the catalogue."""

    posts: ColdPosts
    name: str = "cold_facts"

    def __call__(self, query: Query, candidates: Candidates) -> Candidates:
        """See `Hydrator`."""
        positions = np.flatnonzero(candidates.rows == UNKNOWN)[:MAX_COLD_POSTS]
        if not len(positions):
            return candidates
        cold = self.posts.read(candidates.post_ids[positions], query.interests, query.feed_filter.tag_ids)
        columns = {f.name: getattr(candidates, f.name).copy() for f in fields(Candidates)}
        for name, column in columns.items():
            if name not in ("post_ids", "origins", "rows"):
                column[positions] = getattr(cold, name)
        return replace(candidates, **columns)
