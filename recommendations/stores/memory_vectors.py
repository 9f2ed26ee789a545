"""The in-memory twin of `RedisVectors`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from recommendations.contracts import Float32Array, SweepResult
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_vectors import TTL_SECONDS


class MemoryVectors:
    """Implements `VectorCache` in a dictionary."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._vectors = MemoryEntries[int, bytes](clock)

    def get(self, post_ids: Collection[int], now: float) -> dict[int, Float32Array]:
        """See `VectorCache.get`."""
        vectors: dict[int, Float32Array] = {}
        for post_id in post_ids:
            if value := self._vectors.get(post_id):
                self._vectors.use(post_id, now)
                vectors[post_id] = np.frombuffer(value, "<f4")
        return vectors

    def put(self, vectors: Mapping[int, Float32Array], now: float) -> None:
        """See `VectorCache.put`."""
        for post_id, vector in vectors.items():
            self._vectors.put(post_id, vector.astype("<f4").tobytes(), seconds=TTL_SECONDS)
            self._vectors.use(post_id, now)

    def remove(self, post_ids: Sequence[int]) -> None:
        """See `VectorCache.remove`."""
        for post_id in post_ids:
            self._vectors.remove(post_id)

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `VectorCache.sweep`."""
        return self._vectors.sweep(now, ttl_seconds=TTL_SECONDS, max_entries=max_entries)
