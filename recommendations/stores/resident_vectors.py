"""A vector index over the resident posts: an engine scans the rows of the catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import (
    UNKNOWN,
    AccountStatus,
    BoolArray,
    Candidates,
    Float32Array,
    IndexFilter,
    Int64Array,
    Visibility,
    is_in_sorted,
)
from recommendations.ports import Engine, EngineError, VectorIndexError
from recommendations.stores.resident_catalogue import ResidentCatalogue

CAP_OVERSAMPLING = 4
"""With an author cap, this many times k posts are searched before the cap is applied. Changes the answer slightly."""


@dataclass(frozen=True)
class ResidentVectors:
    """Implements `VectorIndex` for the resident posts: the newest CATALOGUE_MAX_POSTS."""

    engine: Engine
    catalogue: ResidentCatalogue

    @property
    def dimension(self) -> int:
        """The dimension of query vectors."""
        return self.engine.dimension

    def nearest(self, vectors: Float32Array, k: int, index_filter: IndexFilter) -> tuple[Int64Array, Float32Array]:
        """See `VectorIndex.nearest`."""
        posts = self.catalogue.all_posts()
        pool_size = k * CAP_OVERSAMPLING if index_filter.author_cap else k
        ids, cosines = self.nearest_in_mask(vectors, pool_size, index_filter_mask(posts, index_filter))
        if index_filter.author_cap:
            authors = self.catalogue.load_facts(
                Candidates.unknown(ids.ravel(), np.zeros(ids.size, np.uint16)), 0.0
            ).author_ids
            ids, cosines = apply_author_cap(ids, cosines, authors.reshape(ids.shape), k, index_filter.author_cap)
        return ids, cosines

    def nearest_in_mask(self, vectors: Float32Array, k: int, mask: BoolArray) -> tuple[Int64Array, Float32Array]:
        """Return the nearest posts among the catalogue's rows in *mask*, such as those that pass a feed's filters."""
        if k <= 0:
            return np.zeros((len(vectors), 0), np.int64), np.zeros((len(vectors), 0), np.float32)
        posts = self.catalogue.all_posts()
        try:
            rows, cosines = self.engine.nearest(vectors, k, mask)
        except EngineError as error:
            raise VectorIndexError(str(error)) from error
        ids = np.full(rows.shape, UNKNOWN, np.int64)
        # A zero vector has no neighbors, although an engine returns rows with cosine 0 for it.
        is_found = (rows != UNKNOWN) & np.any(vectors != 0, axis=1)[:, None]
        ids[is_found] = posts.post_ids[rows[is_found]]
        return ids, np.where(is_found, cosines, np.float32(0))


def index_filter_mask(posts: Candidates, index_filter: IndexFilter) -> BoolArray:
    """Return the mask (n,) of the posts that pass *index_filter*."""
    public = posts.visibility == Visibility.PUBLIC
    followed = (posts.visibility == Visibility.FOLLOWERS) & is_in_sorted(
        posts.author_ids, index_filter.followed_author_ids
    )
    mask = (public | followed) & ~posts.is_removed & (posts.account_status != AccountStatus.INACTIVE)
    mask &= (posts.sensitivity >= 0) & (posts.sensitivity <= index_filter.max_sensitivity)
    mask &= ~is_in_sorted(posts.author_ids, index_filter.excluded_author_ids)
    if len(index_filter.language_ids):
        mask &= (posts.language_ids == UNKNOWN) | is_in_sorted(posts.language_ids, index_filter.language_ids)
    return mask


def apply_author_cap(
    ids: Int64Array, cosines: Float32Array, authors: Int64Array, k: int, cap: int
) -> tuple[Int64Array, Float32Array]:
    """Return the first *k* posts of each row, skipping posts of an author beyond the first *cap*."""
    capped_ids = np.full((len(ids), k), UNKNOWN, np.int64)
    capped_cosines = np.zeros((len(ids), k), np.float32)
    for q, row in enumerate(ids):
        counts: Counter[int] = Counter()
        positions = []
        for position, post_id in enumerate(row):
            counts[int(authors[q, position])] += 1
            if post_id != UNKNOWN and counts[int(authors[q, position])] <= cap:
                positions.append(position)
        positions = positions[:k]
        capped_ids[q, : len(positions)], capped_cosines[q, : len(positions)] = row[positions], cosines[q, positions]
    return capped_ids, capped_cosines
