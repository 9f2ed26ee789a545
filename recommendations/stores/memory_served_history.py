"""The in-memory twin of `RedisServedHistory`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from recommendations.contracts import Affinity
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_served_history import FATIGUE_PER_SERVE, MAX_PAGES, TTL_SECONDS

Page = tuple[float, tuple[int, ...]]
"""The time (Unix seconds) and the post ids."""


class MemoryServedHistory:
    """Implements `ServedHistory` in a dictionary."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._pages = MemoryEntries[int, list[Page]](clock)

    def add(self, pages: Iterable[tuple[int, float, Sequence[int]]]) -> None:
        """See `ServedHistory.add`."""
        for member_id, served_at, post_ids in pages:
            pages_before = self._pages.get(member_id) or []
            self._pages.put(member_id, [*pages_before, (served_at, tuple(post_ids))][-MAX_PAGES:], seconds=TTL_SECONDS)

    def fatigue(self, member_id: int, now: float, half_life_seconds: float, min_age_seconds: float = 0.0) -> Affinity:
        """See `ServedHistory.fatigue`."""
        fatigue: Counter[int] = Counter()
        for served_at, post_ids in self._pages.get(member_id) or []:
            age = max(now - served_at, 0.0)
            for post_id in post_ids if age >= min_age_seconds else ():
                fatigue[post_id] += FATIGUE_PER_SERVE * 2.0 ** (-age / half_life_seconds)
        ids = sorted(fatigue)
        return Affinity(np.array(ids, np.int64), np.array([min(fatigue[id], 1.0) for id in ids], np.float32))

    def remove(self, member_ids: Sequence[int]) -> None:
        """See `ServedHistory.remove`."""
        for member_id in member_ids:
            self._pages.remove(member_id)
