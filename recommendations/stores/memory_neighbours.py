"""The in-memory twin of `RedisNeighbours` for tests; `tests/spec/` holds both to the same laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from recommendations.contracts import CachedNeighbours, Float32Array, Int64Array, Swept
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_neighbours import CHANGES_KEPT, KEEP_SECONDS

Answer = tuple[int, Int64Array, Float32Array]
"""The moment from which on changes count, post ids, and cosines."""


class MemoryNeighbours:
    """Keeps `NeighbourCache` in dictionaries. Its clock stands for that of Redis."""

    def __init__(self, *, clock: Callable[[], float], grace_seconds: float) -> None:
        """*grace_seconds*: how far behind the database the posts may be that an answer comes from."""
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._answers = MemoryEntries[str, Answer](clock)
        self._changed_at: dict[int, int] = {}

    def get(self, key: str) -> CachedNeighbours | None:
        """See `NeighbourCache.get`."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        since, post_ids, cosines = answer
        if len(self._changed_at) >= CHANGES_KEPT and min(self._changed_at.values()) >= since:
            return None
        self._answers.use(key, self._clock())
        changed = sorted(post_id for post_id, moment in self._changed_at.items() if moment >= since)
        return CachedNeighbours(post_ids, cosines, np.array(changed, np.int64))

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """See `NeighbourCache.put`."""
        now = int(self._clock())
        answer = (math.floor(now - self._grace_seconds), post_ids.astype(np.int64), cosines.astype(np.float32))
        self._answers.put(key, answer, seconds=KEEP_SECONDS)
        self._answers.use(key, now)

    def changed(self, post_ids: Sequence[int]) -> None:
        """See `NeighbourCache.changed`."""
        self._changed_at |= dict.fromkeys(post_ids[-CHANGES_KEPT:], int(self._clock()))
        newest_first = sorted(self._changed_at.items(), key=lambda change: change[1], reverse=True)
        self._changed_at = dict(newest_first[:CHANGES_KEPT])

    def sweep(self, now: float, *, most: int) -> Swept:
        """See `NeighbourCache.sweep`."""
        return self._answers.sweep(now, keep_seconds=KEEP_SECONDS, most=most)
