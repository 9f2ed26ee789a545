"""An engine that answers nearest-neighbor queries from a cache shared by all viewers. It holds nothing personal."""

from __future__ import annotations

import numpy as np

from monitoring import metrics
from recommendations.contracts import UNKNOWN, BoolArray, CachedNeighbors, Float32Array, Int32Array, Int64Array
from recommendations.ports import Engine, NeighborCache
from recommendations.stores.redis_neighbors import neighbors_key
from recommendations.stores.resident_catalogue import ResidentCatalogue

CACHE_NAME = "neighbors"
POOL_EXTRA = 100
"""For k requested posts, 1.5 k + this many are cached, so that enough are left after the viewer's filters."""


class CachingEngine:
    """
    Implements `Engine` by another engine, and caches the results of `nearest` for single queries.

    The results equal those of the engine. The cache holds the nearest of all resident posts. Each viewer's mask then
    removes the posts that the viewer may not see, and posts that changed since are scored again. If fewer than k posts
    are left, the engine is called.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: ResidentCatalogue,
        cache: NeighborCache,
        *,
        space: str,
        model: str,
    ) -> None:
        self.name, self.dimension = engine.name, engine.dimension
        self.put, self.drop = engine.put, engine.drop
        self.score, self.diversify = engine.score, engine.diversify
        self.cosine, self.vectors = engine.cosine, engine.vectors
        self._engine, self._catalogue, self._cache = engine, catalogue, cache
        self._space, self._model = space, model

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        if len(queries) != 1 or k <= 0 or not np.isfinite(queries).all() or not queries.any():
            return self._engine.nearest(queries, k, eligible)
        pool_size = POOL_EXTRA + k + k // 2
        key = neighbors_key(self._space, self._model, pool_size, queries[0])
        cached = self._cache.get(key)
        if cached is None:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "miss").inc()
            cached = self._nearest_of_all(queries, pool_size)
            self._cache.put(key, cached.post_ids, cached.cosines)
        else:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "hit").inc()
        chosen = self._choose_eligible(cached, queries[0], k, eligible)
        return chosen if chosen is not None else self._engine.nearest(queries, k, eligible)

    def _nearest_of_all(self, queries: Float32Array, pool_size: int) -> CachedNeighbors:
        """Return the *pool_size* nearest of all resident posts."""
        ids = self._catalogue.all_posts().post_ids
        rows, cosines = self._engine.nearest(queries, pool_size, ids > 0)
        found = rows[0] != UNKNOWN
        return CachedNeighbors(ids[rows[0][found]], cosines[0][found], np.zeros(0, np.int64))

    def _choose_eligible(
        self, cached: CachedNeighbors, query: Float32Array, k: int, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array] | None:
        """Return rows and cosines of the *k* nearest eligible posts, or None if too few cached posts are eligible."""
        is_unchanged = ~np.isin(cached.post_ids, cached.changed_post_ids)
        rows, cosines = self._eligible_rows(cached.post_ids[is_unchanged], cached.cosines[is_unchanged], eligible)
        if len(rows) < k:
            return None
        changed, _ = self._eligible_rows(
            cached.changed_post_ids, np.zeros(len(cached.changed_post_ids), np.float32), eligible
        )
        if len(changed):
            changed = changed[np.any(self._engine.vectors(changed) != 0, axis=1)]
            rows = np.concatenate([rows, changed])
            cosines = np.concatenate([cosines, self._engine.cosine(query, changed)])
        order = np.lexsort((self._catalogue.all_posts().post_ids[rows], -cosines))[:k]
        result = np.full((1, k), UNKNOWN, np.int32), np.full((1, k), -np.inf, np.float32)
        result[0][0, : len(order)], result[1][0, : len(order)] = rows[order], cosines[order]
        return result

    def _eligible_rows(
        self, post_ids: Int64Array, cosines: Float32Array, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array]:
        """Return the rows and cosines of those posts that are resident and eligible."""
        rows = self._catalogue.rows_of(post_ids)
        known = (rows != UNKNOWN) & (rows < len(eligible))
        known[known] = eligible[rows[known]]
        return rows[known], cosines[known]
