"""
What is near to a vector, in Redis for five minutes: ids and cosines of posts, and nothing of who asked.

It says what is near among all posts, also those that only some may see: the viewer's own filters come after it, and the
last look after them. Values are sealed. What changed meanwhile is remembered too, so that a kept answer is never stale:
each of those posts is looked at again. A cache that cannot be reached is a miss and never an error.
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
"""Posts whose change is remembered. What was kept before the oldest of them is a miss."""

# One clock for all processes: that of Redis. A moment is a whole second, which Redis reads faster than a fraction.
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
    local kept = redis.call('HMGET', KEYS[1], 'since', 'value')
    if not kept[1] then return {} end
    if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[1]) then
        local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
        if tonumber(oldest[2]) >= tonumber(kept[1]) then return {} end
    end
    redis.call('ZADD', KEYS[3], now, KEYS[1])
    return {kept[2], redis.call('ZRANGEBYSCORE', KEYS[2], kept[1], '+inf')}"""
)


class RedisNeighbors:
    """Keeps `NeighbourCache`; `key_of` makes its keys."""

    def __init__(self, client: redis.Redis, seal: Seal, *, grace_seconds: float) -> None:
        """*grace_seconds*: how far behind the database the catalogue may be that an answer came from."""
        self._client = client
        self._seal = seal
        self._grace_seconds = grace_seconds
        self._index = LruIndex(client, INDEX_KEY)
        self._get, self._put, self._change = (
            client.register_script(text) for text in (GET_SCRIPT, PUT_SCRIPT, MARK_CHANGED_SCRIPT)
        )

    def get(self, key: str) -> CachedNeighbors | None:
        """See `NeighbourCache.get`."""
        try:
            found = cast("list[object]", self._get(keys=[key, CHANGED_KEY, INDEX_KEY], args=[MAX_CHANGED_POSTS]))
            if not found:
                return None
            packed = self._seal.open(cast(bytes, found[0]), key)
        except (redis.RedisError, SealError) as error:
            log.warning("neighbors_unreadable", extra={"problem": type(error).__name__})
            return None
        count = len(packed) // 12
        return CachedNeighbors(
            np.frombuffer(packed, "<i8", count).astype(np.int64),
            np.frombuffer(packed, "<f4", count, 8 * count).astype(np.float32),
            np.array(sorted(map(int, cast("list[bytes]", found[1]))), np.int64),
        )

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """See `NeighbourCache.put`."""
        packed = post_ids.astype("<i8").tobytes() + cosines.astype("<f4").tobytes()
        try:
            self._put(keys=[key, INDEX_KEY], args=[self._grace_seconds, self._seal.seal(packed, key), TTL_SECONDS])
        except redis.RedisError as error:
            log.warning("neighbors_not_cached", extra={"problem": type(error).__name__})

    def mark_changed(self, post_ids: Sequence[int]) -> None:
        """See `NeighbourCache.changed`."""
        try:
            if newest := post_ids[-MAX_CHANGED_POSTS:]:
                self._change(keys=[CHANGED_KEY], args=[MAX_CHANGED_POSTS, *newest])
        except redis.RedisError as error:
            log.warning("neighbors_not_marked", extra={"posts": len(post_ids), "problem": type(error).__name__})

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `NeighbourCache.sweep`."""
        return self._index.sweep(now, ttl_seconds=TTL_SECONDS, max_entries=max_entries)


def neighbors_key(space: str, model: str, k: int, vector: Float32Array) -> str:
    """Return the key of what is near to *vector* (d,): no text and no id can be read from it."""
    asked = f"{space}\x1f{model}\x1f{k}\x1f".encode() + vector.astype("<f4").tobytes()
    return PREFIX + hashlib.sha256(asked).hexdigest()
