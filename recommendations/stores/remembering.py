"""An engine that remembers what is near to a vector, for whoever asks next: what is shared is no viewer's own."""

from __future__ import annotations

import numpy as np

from monitoring import metrics
from recommendations.contracts import UNKNOWN, BoolArray, CachedNeighbours, Float32Array, Int32Array, Int64Array
from recommendations.ports import Engine, NeighbourCache
from recommendations.stores.redis_neighbours import key_of
from recommendations.stores.resident_catalogue import ResidentCatalogue

NAME = "neighbours"
POOL = 100
"""So many posts more than asked for, and half as many again, are kept, so that filters leave enough."""


class RememberingEngine:
    """
    Keeps `Engine` by another one; of `nearest` it remembers the answers to single queries.

    What it gives is what the engine would give. It keeps the nearest of all resident posts; what the viewer may not see
    falls out by their mask, what changed since is scored now. If too few are left, the engine is asked.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: ResidentCatalogue,
        kept: NeighbourCache,
        *,
        space: str,
        model: str,
    ) -> None:
        self.name, self.dimension = engine.name, engine.dimension
        self.put, self.drop = engine.put, engine.drop
        self.score, self.diversify = engine.score, engine.diversify
        self.cosine, self.vectors = engine.cosine, engine.vectors
        self._engine, self._catalogue, self._kept = engine, catalogue, kept
        self._space, self._model = space, model

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        if len(queries) != 1 or k <= 0 or not np.isfinite(queries).all() or not queries.any():
            return self._engine.nearest(queries, k, eligible)
        many = POOL + k + k // 2
        key = key_of(self._space, self._model, many, queries[0])
        kept = self._kept.get(key)
        if kept is None:
            metrics.CACHE_REQUESTS.labels(NAME, "miss").inc()
            kept = self._asked(queries, many)
            self._kept.put(key, kept.post_ids, kept.cosines)
        else:
            metrics.CACHE_REQUESTS.labels(NAME, "hit").inc()
        found = self._chosen(kept, queries[0], k, eligible)
        return found if found is not None else self._engine.nearest(queries, k, eligible)

    def _asked(self, queries: Float32Array, many: int) -> CachedNeighbours:
        """Return the nearest of all resident posts."""
        ids = self._catalogue.everything().post_ids
        rows, cosines = self._engine.nearest(queries, many, ids > 0)
        found = rows[0] != UNKNOWN
        return CachedNeighbours(ids[rows[0][found]], cosines[0][found], np.zeros(0, np.int64))

    def _chosen(
        self, kept: CachedNeighbours, query: Float32Array, k: int, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array] | None:
        """Return the *k* nearest eligible rows, or None if too few of those that are kept are left."""
        same = ~np.isin(kept.post_ids, kept.changed)
        rows, cosines = self._eligible(kept.post_ids[same], kept.cosines[same], eligible)
        if len(rows) < k:
            return None
        changed, _ = self._eligible(kept.changed, np.zeros(len(kept.changed), np.float32), eligible)
        if len(changed):
            changed = changed[np.any(self._engine.vectors(changed) != 0, axis=1)]
            rows = np.concatenate([rows, changed])
            cosines = np.concatenate([cosines, self._engine.cosine(query, changed)])
        order = np.lexsort((self._catalogue.everything().post_ids[rows], -cosines))[:k]
        answer = np.full((1, k), UNKNOWN, np.int32), np.full((1, k), -np.inf, np.float32)
        answer[0][0, : len(order)], answer[1][0, : len(order)] = rows[order], cosines[order]
        return answer

    def _eligible(
        self, post_ids: Int64Array, cosines: Float32Array, eligible: BoolArray
    ) -> tuple[Int32Array, Float32Array]:
        """Return the rows and cosines of the posts that are resident and eligible."""
        rows = self._catalogue.rows_of(post_ids)
        known = (rows != UNKNOWN) & (rows < len(eligible))
        known[known] = eligible[rows[known]]
        return rows[known], cosines[known]
