"""
The nearest neighbors of a query vector, in Redis for five minutes: ids and cosines of posts, nothing about the viewer.

An entry covers all resident posts, including posts that only some viewers may see: the caller applies the viewer's
mask, and the final check runs later. Values are sealed. The store also records which posts changed recently. A read
returns those that changed since the entry was computed, so that the caller scores them again and no result is stale.
If Redis cannot be reached, a read is a miss and no error.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import redis

from recommendations.contracts import CachedNeighbors, Float32Array, Int64Array, SweepResult
from recommendations.stores.redis_lru import LruIndex
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

TTL_SECONDS = 300
PREFIX = "recsys:neighbors:"
INDEX_KEY = "recsys:neighbors:index"
CHANGED_KEY = "recsys:neighbors:changed"
MAX_CHANGED_POSTS = 500
"""Changed posts that are recorded. An entry older than the oldest recorded change is a miss: changes may be missing."""

# All processes use the clock of Redis. Times are whole seconds, which Redis parses faster than fractions.
REDIS_NOW = "local now = tonumber(redis.call('TIME')[1]) "
MARK_CHANGED_SCRIPT = (
    REDIS_NOW
    + """
    for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[i]) end
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[1] - 1)
    redis.call('EXPIRE', KEYS[1], 3600)"""
)
PUT_SCRIPT = (
    REDIS_NOW
    + """
    redis.call('HSET', KEYS[1], 'since', math.floor(now - ARGV[1]), 'value', ARGV[2])
    redis.call('EXPIRE', KEYS[1], ARGV[3])
    redis.call('ZADD', KEYS[2], now, KEYS[1])"""
)
GET_SCRIPT = (
    REDIS_NOW
    + """
    local entry = redis.call('HMGET', KEYS[1], 'since', 'value')
    if not entry[1] then return {} end
    if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[1]) then
        local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
        if tonumber(oldest[2]) >= tonumber(entry[1]) then return {} end
    end
    redis.call('ZADD', KEYS[3], now, KEYS[1])
    return {entry[2], redis.call('ZRANGEBYSCORE', KEYS[2], entry[1], '+inf')}"""
)


class RedisNeighbors:
    """Implements `NeighborCache`. `neighbors_key` builds its keys."""

    def __init__(self, client: redis.Redis, seal: Seal, *, grace_seconds: float) -> None:
        """*grace_seconds*: how far the catalogue that results come from may be behind the database."""
        self._client = client
        self._seal = seal
        self._grace_seconds = grace_seconds
        self._index = LruIndex(client, INDEX_KEY)
        self._get, self._put, self._mark_changed = (
            client.register_script(text) for text in (GET_SCRIPT, PUT_SCRIPT, MARK_CHANGED_SCRIPT)
        )

    def get(self, key: str) -> CachedNeighbors | None:
        """See `NeighborCache.get`."""
        try:
            result = cast("list[object]", self._get(keys=[key, CHANGED_KEY, INDEX_KEY], args=[MAX_CHANGED_POSTS]))
            if not result:
                return None
            packed = self._seal.open(cast(bytes, result[0]), key)
        except (redis.RedisError, SealError) as error:
            log.warning("neighbors_not_read", extra={"problem": type(error).__name__})
            return None
        count = len(packed) // 12
        return CachedNeighbors(
            np.frombuffer(packed, "<i8", count).astype(np.int64),
            np.frombuffer(packed, "<f4", count, 8 * count).astype(np.float32),
            np.array(sorted(map(int, cast("list[bytes]", result[1]))), np.int64),
        )

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """See `NeighborCache.put`."""
        packed = post_ids.astype("<i8").tobytes() + cosines.astype("<f4").tobytes()
        try:
            self._put(keys=[key, INDEX_KEY], args=[self._grace_seconds, self._seal.seal(packed, key), TTL_SECONDS])
        except redis.RedisError as error:
            log.warning("neighbors_not_cached", extra={"problem": type(error).__name__})

    def mark_changed(self, post_ids: Sequence[int]) -> None:
        """See `NeighborCache.mark_changed`."""
        try:
            if newest := post_ids[-MAX_CHANGED_POSTS:]:
                self._mark_changed(keys=[CHANGED_KEY], args=[MAX_CHANGED_POSTS, *newest])
        except redis.RedisError as error:
            log.warning("neighbors_not_marked_changed", extra={"posts": len(post_ids), "problem": type(error).__name__})

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `NeighborCache.sweep`."""
        return self._index.sweep(now, ttl_seconds=TTL_SECONDS, max_entries=max_entries)


def neighbors_key(space: str, model: str, k: int, vector: Float32Array) -> str:
    """Return the key of the *k* nearest neighbors of *vector* (d,), a hash that discloses neither text nor ids."""
    content = f"{space}\x1f{model}\x1f{k}\x1f".encode() + vector.astype("<f4").tobytes()
    return PREFIX + hashlib.sha256(content).hexdigest()
