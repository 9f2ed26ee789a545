"""
Vectors of posts in Redis for an hour, as float32: learning must give the same result from the cache and the database.

They are sealed: what a vector's post is about can be read from it, and the post may be private. If Redis cannot be
reached, or no key opens a value, a read is a miss and no error.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import numpy as np
import redis

from recommendations.contracts import Float32Array, SweepResult
from recommendations.stores.redis_lru import LruIndex
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

INDEX_KEY = "recsys:vectors:index"
TTL_SECONDS = 3_600
BATCH = 100
"""Vectors per command. Changes the speed."""


class RedisVectors:
    """Implements `VectorCache`."""

    def __init__(self, client: redis.Redis, seal: Seal, *, space: str, model: str) -> None:
        self._client = client
        self._seal = seal
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
                found = {id: sealed for id, sealed in zip(batch, values, strict=True) if sealed}
                opened = {id: self._open(id, sealed) for id, sealed in found.items()}
                vectors |= {id: np.frombuffer(packed, "<f4") for id, packed in opened.items() if packed is not None}
        except redis.RedisError as error:
            log.warning("vectors_not_read", extra={"problem": type(error).__name__})
        return vectors

    def put(self, vectors: Mapping[int, Float32Array], now: float) -> None:
        """See `VectorCache.put`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for post_id, vector in vectors.items():
                    key = self._key(post_id)
                    pipe.set(key, self._seal.seal(vector.astype("<f4").tobytes(), key), ex=TTL_SECONDS)
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

    def _open(self, post_id: int, sealed: bytes) -> bytes | None:
        """Return the packed vector, or None if no key opens it."""
        try:
            return self._seal.open(sealed, self._key(post_id))
        except SealError as error:
            log.warning("vectors_not_read", extra={"problem": type(error).__name__})
            return None

    def _key(self, post_id: int) -> str:
        return f"{self._prefix}{post_id}"
