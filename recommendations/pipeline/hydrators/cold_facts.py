"""The facts of candidates that are not resident, read from the database: a few posts, and never all of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from recommendations.contracts import MAX_COLD_POSTS, UNKNOWN, Candidates, Query
from recommendations.ports import ColdPosts


@dataclass(frozen=True)
class ColdFacts:
    """Fills in what the catalogue does not know."""

    posts: ColdPosts
    name: str = "cold_facts"

    def __call__(self, query: Query, candidates: Candidates) -> Candidates:
        """See `Hydrator`."""
        at = np.flatnonzero(candidates.rows == UNKNOWN)[:MAX_COLD_POSTS]
        if not len(at):
            return candidates
        read = self.posts.read(candidates.post_ids[at], query.interests)
        columns = {f.name: getattr(candidates, f.name).copy() for f in fields(Candidates)}
        for name, column in columns.items():
            if name not in ("post_ids", "origins", "rows"):
                column[at] = getattr(read, name)
        return replace(candidates, **columns)
