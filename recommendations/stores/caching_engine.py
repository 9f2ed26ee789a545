"""An engine that remembers what is near to a vector, for whoever asks next: what is shared is no viewer's own."""

from __future__ import annotations

import numpy as np

from monitoring import metrics
from recommendations.contracts import UNKNOWN, BoolArray, CachedNeighbors, Float32Array, Int32Array, Int64Array
from recommendations.ports import Engine, NeighborCache
from recommendations.stores.redis_neighbors import neighbors_key
from recommendations.stores.resident_catalogue import ResidentCatalogue

CACHE_NAME = "neighbors"
POOL_EXTRA = 100
"""So many posts more than asked for, and half as many again, are kept, so that filters leave enough."""


class CachingEngine:
    """
    Keeps `Engine` by another one; of `nearest` it remembers the answers to single queries.

    What it gives is what the engine would give. It keeps the nearest of all resident posts; what the viewer may not see
    falls out by their mask, what changed since is scored now. If too few are left, the engine is asked.
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
        self._engine, self._catalogue, self._kept = engine, catalogue, cache
        self._space, self._model = space, model

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        if len(queries) != 1 or k <= 0 or not np.isfinite(queries).all() or not queries.any():
            return self._engine.nearest(queries, k, eligible)
        many = POOL_EXTRA + k + k // 2
        key = neighbors_key(self._space, self._model, many, queries[0])
        kept = self._kept.get(key)
        if kept is None:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "miss").inc()
            kept = self._nearest_of_all(queries, many)
            self._kept.put(key, kept.post_ids, kept.cosines)
        else:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "hit").inc()
        found = self._choose_eligible(kept, queries[0], k, eligible)
        return found if found is not None else self._engine.nearest(queries, k, eligible)

    def _nearest_of_all(self, queries: Float32Array, many: int) -> CachedNeighbors:
        """Return the nearest of all resident posts."""
        ids = self._catalogue.all_posts().post_ids
        rows, cosines = self._engine.nearest(queries, many, ids > 0)
        found = rows[0] != UNKNOWN
        return CachedNeighbors(ids[rows[0][found]], cosines[0][found], np.zeros(0, np.int64))

    def _choose_eligible(
        self, cached: CachedNeighbors, query: Float32Array, k: int, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array] | None:
        """Return the *k* nearest eligible rows, or None if too few of those that are kept are left."""
        same = ~np.isin(cached.post_ids, cached.changed_post_ids)
        rows, cosines = self._eligible_rows(cached.post_ids[same], cached.cosines[same], eligible)
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
        answer = np.full((1, k), UNKNOWN, np.int32), np.full((1, k), -np.inf, np.float32)
        answer[0][0, : len(order)], answer[1][0, : len(order)] = rows[order], cosines[order]
        return answer

    def _eligible_rows(
        self, post_ids: Int64Array, cosines: Float32Array, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array]:
        """Return the rows and cosines of the posts that are resident and eligible."""
        rows = self._catalogue.rows_of(post_ids)
        known = (rows != UNKNOWN) & (rows < len(eligible))
        known[known] = eligible[rows[known]]
        return rows[known], cosines[known]
