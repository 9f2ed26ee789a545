"""The in-memory twin of `RedisNeighbors`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from recommendations.contracts import CachedNeighbors, Float32Array, Int64Array, SweepResult
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_neighbors import MAX_CHANGED_POSTS, TTL_SECONDS

Answer = tuple[int, Int64Array, Float32Array]
"""The time from which changes count (Unix seconds), post ids, and cosines."""


class MemoryNeighbors:
    """Implements `NeighborCache` in dictionaries. *clock* replaces the clock of Redis."""

    def __init__(self, *, clock: Callable[[], float], grace_seconds: float) -> None:
        """*grace_seconds*: how far the catalogue that results come from may be behind the database."""
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._answers = MemoryEntries[str, Answer](clock)
        self._changed_at: dict[int, int] = {}

    def get(self, key: str) -> CachedNeighbors | None:
        """See `NeighborCache.get`."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        since, post_ids, cosines = answer
        if len(self._changed_at) >= MAX_CHANGED_POSTS and min(self._changed_at.values()) >= since:
            return None
        self._answers.use(key, self._clock())
        changed = sorted(post_id for post_id, moment in self._changed_at.items() if moment >= since)
        return CachedNeighbors(post_ids, cosines, np.array(changed, np.int64))

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """See `NeighborCache.put`."""
        now = int(self._clock())
        answer = (math.floor(now - self._grace_seconds), post_ids.astype(np.int64), cosines.astype(np.float32))
        self._answers.put(key, answer, seconds=TTL_SECONDS)
        self._answers.use(key, now)

    def mark_changed(self, post_ids: Sequence[int]) -> None:
        """See `NeighborCache.mark_changed`."""
        self._changed_at |= dict.fromkeys(post_ids[-MAX_CHANGED_POSTS:], int(self._clock()))
        newest_first = sorted(self._changed_at.items(), key=lambda change: change[1], reverse=True)
        self._changed_at = dict(newest_first[:MAX_CHANGED_POSTS])

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `NeighborCache.sweep`."""
        return self._answers.sweep(now, ttl_seconds=TTL_SECONDS, max_entries=max_entries)
