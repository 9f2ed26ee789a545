"""
Vectors of posts in Redis for an hour, as float32: learning must give the same result from the cache and the database.

Vectors of posts are not personal, so they are not sealed. If Redis cannot be reached, a read is a miss and no error.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import numpy as np
import redis

from recommendations.contracts import Float32Array, SweepResult
from recommendations.stores.redis_lru import LruIndex

log = logging.getLogger(__name__)

INDEX_KEY = "recsys:vectors:index"
TTL_SECONDS = 3_600
BATCH = 100
"""Vectors per command. Changes the speed."""


class RedisVectors:
    """Implements `VectorCache`."""

    def __init__(self, client: redis.Redis, *, space: str, model: str) -> None:
        self._client = client
        self._prefix = f"recsys:vectors:{space}:{model}:"
        self._index = LruIndex(client, INDEX_KEY)

    def get(self, post_ids: Collection[int], now: float) -> dict[int, Float32Array]:
        """See `VectorCache.get`."""
        ids = list(post_ids)
        vectors: dict[int, Float32Array] = {}
        try:
            for start in range(0, len(ids), BATCH):
                batch = ids[start : start + BATCH]
                keys = [self._key(post_id) for post_id in batch]
                with self._client.pipeline(transaction=False) as pipe:
                    pipe.mget(keys)
                    self._index.touch_existing(pipe, keys, now)
                    values = cast("list[bytes | None]", pipe.execute()[0])
                vectors |= {id: np.frombuffer(value, "<f4") for id, value in zip(batch, values, strict=True) if value}
        except redis.RedisError as error:
            log.warning("vectors_not_read", extra={"problem": type(error).__name__})
        return vectors

    def put(self, vectors: Mapping[int, Float32Array], now: float) -> None:
        """See `VectorCache.put`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for post_id, vector in vectors.items():
                    pipe.set(self._key(post_id), vector.astype("<f4").tobytes(), ex=TTL_SECONDS)
                self._index.touch(pipe, map(self._key, vectors), now)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("vectors_not_cached", extra={"problem": type(error).__name__})

    def remove(self, post_ids: Sequence[int]) -> None:
        """See `VectorCache.remove`."""
        try:
            for start in range(0, len(post_ids), BATCH):
                self._client.unlink(*(self._key(post_id) for post_id in post_ids[start : start + BATCH]))
        except redis.RedisError as error:
            log.warning("vectors_not_removed", extra={"posts": len(post_ids), "problem": type(error).__name__})

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `VectorCache.sweep`."""
        return self._index.sweep(now, ttl_seconds=TTL_SECONDS, max_entries=max_entries)

    def _key(self, post_id: int) -> str:
        return f"{self._prefix}{post_id}"
