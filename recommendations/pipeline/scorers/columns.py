"""Parts that are a column of facts. The taste parts come from the engine, in the call that adds everything up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import Candidates, Float32Array, Query, among


@dataclass(frozen=True)
class Recency:
    """1 for a post of this moment, halved by every half-life of the policy."""

    name: str = field(default="recency", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`. A post from the future counts as of this moment; one without a date as ancient."""
        hours = np.maximum(query.now - np.nan_to_num(candidates.created_at), 0) / 3600
        return np.exp2(-hours / query.policy.recency_half_life_hours).astype(np.float32)


@dataclass(frozen=True)
class Popularity:
    """The logarithm of the engagement of late, from 0 up to 1 at a thousand acts."""

    name: str = field(default="popularity", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.minimum(np.log1p(candidates.engagement) / np.log1p(1000.0), 1.0).astype(np.float32)


@dataclass(frozen=True)
class Follow:
    """1 for a post by an author whom the viewer follows."""

    name: str = field(default="follow", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return among(candidates.author_ids, query.followed_author_ids).astype(np.float32)
