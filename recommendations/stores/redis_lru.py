"""
Limits the number of entries of a cache in Redis: an index of its keys by last use, and a sweep that evicts the oldest.

Redis expires the entries themselves; the index holds only their keys. Between two sweeps a cache may exceed its budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import redis
from redis.client import Pipeline

from recommendations.contracts import SweepResult
from recommendations.stores.redis_errors import store_errors

BATCH = 500
SAMPLE_SIZE = 20
"""Entries whose size is measured; the total is extrapolated from them. Changes a metric only."""


class LruIndex:
    """
    The keys of one cache's entries, ordered by last use.

    Times are whole seconds: Redis takes 12 µs to parse a score with six decimals, and 1 µs to parse an integer.
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key

    def touch(self, pipe: Pipeline, names: Iterable[str], now: float) -> None:
        """Add to *pipe* the command that sets the last use of these entries to *now* (Unix seconds)."""
        if scores := dict.fromkeys(names, int(now)):
            pipe.zadd(self._key, scores, gt=True)

    def touch_existing(self, pipe: Pipeline, names: Iterable[str], now: float) -> None:
        """Add to *pipe* the command that sets the last use of those of *names* (not empty) in the index to *now*."""
        pipe.zadd(self._key, dict.fromkeys(names, int(now)), xx=True, gt=True)

    @store_errors()
    def sweep(self, now: float, *, ttl_seconds: float, max_entries: int) -> SweepResult:
        """
        Remove expired entries from the index, and evict the least recently used entries beyond *max_entries*.

        The size in the result is extrapolated from Redis's own measure of a sample. Raises `StoreError`.
        """
        expired = int(self._client.zremrangebyscore(self._key, "-inf", now - ttl_seconds))
        evicted = 0
        while (excess := int(self._client.zcard(self._key)) - max_entries) > 0:
            popped = cast("list[tuple[bytes, float]]", self._client.zpopmin(self._key, min(excess, BATCH)))
            names = [name for name, _ in popped]
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.unlink(name)
                pipe.execute()
            evicted += len(names)
        entries = int(self._client.zcard(self._key))
        return SweepResult(expired, evicted, entries, self._size(entries))

    def _size(self, entries: int) -> int:
        names = cast("list[bytes]", self._client.zrandmember(self._key, SAMPLE_SIZE)) if entries else []
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.memory_usage(name)
            sizes = [size for size in pipe.execute() if size]
        return entries * sum(sizes) // len(sizes) if sizes else 0
