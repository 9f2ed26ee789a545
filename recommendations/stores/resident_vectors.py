"""The vectors of resident posts as a vector index: a scan by an engine, over the rows of the catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import (
    UNKNOWN,
    BoolArray,
    Candidates,
    Float32Array,
    Int64Array,
    Standing,
    Visibility,
    Wanted,
    among,
)
from recommendations.ports import Engine, EngineError, VectorIndexError
from recommendations.stores.resident_catalogue import ResidentCatalogue

CAP_OVERSAMPLING = 4
"""Where authors have a cap, so many times k are sought before it is applied. Changes the answer a little."""


@dataclass(frozen=True)
class ResidentVectors:
    """Keeps `VectorIndex` for what is resident. What is beyond CATALOGUE_MAX_POSTS is not in it."""

    engine: Engine
    catalogue: ResidentCatalogue

    @property
    def dimension(self) -> int:
        """Of the vectors that it is asked with."""
        return self.engine.dimension

    def nearest(self, vectors: Float32Array, k: int, wanted: Wanted) -> tuple[Int64Array, Float32Array]:
        """See `VectorIndex.nearest`."""
        posts = self.catalogue.everything()
        many = k * CAP_OVERSAMPLING if wanted.author_cap else k
        ids, cosines = self.nearest_among(vectors, many, eligible(posts, wanted))
        if wanted.author_cap:
            authors = self.catalogue.gather(
                Candidates.unknown(ids.ravel(), np.zeros(ids.size, np.uint16)), 0.0
            ).author_ids
            ids, cosines = capped(ids, cosines, authors.reshape(ids.shape), k, wanted.author_cap)
        return ids, cosines

    def nearest_among(self, vectors: Float32Array, k: int, mask: BoolArray) -> tuple[Int64Array, Float32Array]:
        """Return the same among the rows of *mask*, which is over the catalogue's rows: the filters of a feed."""
        if k <= 0:
            return np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.float32)
        posts = self.catalogue.everything()
        try:
            rows, cosines = self.engine.nearest(vectors, k, mask)
        except EngineError as error:
            raise VectorIndexError(str(error)) from error
        ids = np.full(rows.shape, UNKNOWN, np.int64)
        # A zero vector is near to nothing, though an engine gives it rows of cosine 0.
        found = (rows != UNKNOWN) & np.any(vectors != 0, axis=1)[:, None]
        ids[found] = posts.post_ids[rows[found]]
        return ids, np.where(found, cosines, np.float32(0))


def eligible(posts: Candidates, wanted: Wanted) -> BoolArray:
    """Return which of *posts* are wanted."""
    public = posts.visibility == Visibility.PUBLIC
    followed = (posts.visibility == Visibility.FOLLOWERS) & among(posts.author_ids, wanted.followed_author_ids)
    mask = (public | followed) & ~posts.is_removed & (posts.standing != Standing.INACTIVE)
    mask &= (posts.sensitivity >= 0) & (posts.sensitivity <= wanted.max_sensitivity)
    mask &= ~among(posts.author_ids, wanted.without_author_ids)
    if len(wanted.language_ids):
        mask &= (posts.language_ids == UNKNOWN) | among(posts.language_ids, wanted.language_ids)
    return mask


def capped(
    ids: Int64Array, cosines: Float32Array, authors: Int64Array, k: int, cap: int
) -> tuple[Int64Array, Float32Array]:
    """Return the first *k* of each row in which no author has more than *cap* posts."""
    kept_ids = np.full((len(ids), k), UNKNOWN, np.int64)
    kept_cosines = np.zeros((len(ids), k), np.float32)
    for q, row in enumerate(ids):
        counts: Counter[int] = Counter()
        kept = []
        for at, post_id in enumerate(row):
            counts[int(authors[q, at])] += 1
            if post_id != UNKNOWN and counts[int(authors[q, at])] <= cap:
                kept.append(at)
        kept = kept[:k]
        kept_ids[q, : len(kept)], kept_cosines[q, : len(kept)] = row[kept], cosines[q, kept]
    return kept_ids, kept_cosines
