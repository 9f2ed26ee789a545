"""
How many entries a cache in Redis may have: an index of its keys by when they were last used, which a sweep trims.

Redis itself lets each entry expire; the index only remembers names. Between two sweeps the budget may be exceeded.
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
"""Entries whose size is asked for; the others are taken for as large. Changes a metric only."""


class LruIndex:
    """
    The names of one cache's entries, in the order of their last use.

    A moment is a whole second: Redis takes 12 us to read a score with six digits behind the point, and 1 us for this.
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key

    def touch(self, pipe: Pipeline, names: Iterable[str], now: float) -> None:
        """Add to *pipe*: these entries were written or read at *now* (Unix seconds)."""
        if scores := dict.fromkeys(names, int(now)):
            pipe.zadd(self._key, scores, gt=True)

    def touch_existing(self, pipe: Pipeline, names: Iterable[str], now: float) -> None:
        """Add to *pipe*: those of these entries that are there were read at *now*."""
        if scores := dict.fromkeys(names, int(now)):
            pipe.zadd(self._key, scores, xx=True, gt=True)

    @store_errors()
    def sweep(self, now: float, *, ttl_seconds: float, max_entries: int) -> SweepResult:
        """
        Forget the names of what has expired, and the entries used longest ago over *most*.

        The size is Redis's own measure of some entries, times their number. Raises `StoreError`.
        """
        expired = int(self._client.zremrangebyscore(self._key, "-inf", now - ttl_seconds))
        evicted = 0
        while (over := int(self._client.zcard(self._key)) - max_entries) > 0:
            popped = cast("list[tuple[bytes, float]]", self._client.zpopmin(self._key, min(over, BATCH)))
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
