"""A slate that is not twenty times the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import Int64Array, Query, Scored
from recommendations.ports import Engine

FINALISTS_PER_PICK = 2
"""How far below the slate's last rank a post may come from. Changes the answer."""


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance over the finalists, with a cap per author; the others follow in their order."""

    engine: Engine
    name: str = field(default="diversity", init=False)

    def __call__(self, query: Query, scored: Scored) -> Int64Array:
        """See `Reranker`."""
        n = min(len(scored.scores), FINALISTS_PER_PICK * query.size)
        finalists = scored.candidates
        picks = self.engine.diversify(
            finalists.rows[:n],
            finalists.post_ids[:n],
            scored.scores[:n],
            finalists.author_ids[:n],
            min(query.size, n),
            query.policy.diversity,
            query.policy.author_cap,
        )
        rest = np.setdiff1d(np.arange(len(scored.scores)), picks)
        return np.concatenate([picks, rest])


@dataclass(frozen=True)
class AuthorSpacing:
    """No two neighbours by one author, as far as there is somebody else to put between them."""

    name: str = field(default="author_spacing", init=False)

    def __call__(self, query: Query, scored: Scored) -> Int64Array:
        """See `Reranker`. Looks at the slate's own posts; a post moves down as little as it can."""
        authors = scored.candidates.author_ids[: query.size].tolist()
        order, waiting = [], list(range(len(authors)))
        last = None
        while waiting:
            at = next((i for i, position in enumerate(waiting) if authors[position] != last), 0)
            position = waiting.pop(at)
            order.append(position)
            last = authors[position]
        return np.concatenate([np.array(order, np.int64), np.arange(len(order), len(scored.scores))])
