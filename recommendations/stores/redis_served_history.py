"""
The pages that a member was served recently, packed and sealed, in the cache's Redis with a time to live.

Ranking lowers posts that were served and not opened (fatigue). If the pages are lost, only that effect is lost.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import redis

from recommendations.contracts import Affinity
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

TIMESTAMP = struct.Struct("<d")
MAX_PAGES = 20
"""Pages stored per member. Changes the answer."""
TTL_SECONDS = 2 * 86_400
FATIGUE_PER_SERVE = 0.5
"""The fatigue of a post right after it was served once, 0 to 1. Changes the answer."""


class RedisServedHistory:
    """Implements `ServedHistory`."""

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._client = client
        self._seal = seal

    def add(self, pages: Iterable[tuple[int, float, Sequence[int]]]) -> None:
        """See `ServedHistory.add`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for member_id, served_at, post_ids in pages:
                    key = served_pages_key(member_id)
                    packed = TIMESTAMP.pack(served_at) + np.array(post_ids, "<i8").tobytes()
                    pipe.rpush(key, self._seal.seal(packed, key))
                    pipe.ltrim(key, -MAX_PAGES, -1)
                    pipe.expire(key, TTL_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("served_pages_not_stored", extra={"problem": type(error).__name__})

    def fatigue(self, member_id: int, now: float, half_life_seconds: float, min_age_seconds: float = 0.0) -> Affinity:
        """See `ServedHistory.fatigue`. A page that does not open, such as one of an older version, is deleted."""
        key = served_pages_key(member_id)
        try:
            stored = cast("list[bytes]", self._client.lrange(key, 0, -1))
            opened = {sealed: self._open(sealed, key) for sealed in stored}
            for sealed in (sealed for sealed, page in opened.items() if page is None):
                self._client.lrem(key, 0, sealed)  # type: ignore[arg-type]  # redis-py accepts bytes
            pages = [page for sealed in stored if (page := opened[sealed]) is not None]
        except redis.RedisError as error:
            log.warning("served_pages_not_read", extra={"member_id": member_id, "problem": type(error).__name__})
            return Affinity()
        if not pages:
            return Affinity()
        ids_by_page = [np.frombuffer(page[TIMESTAMP.size :], "<i8") for page in pages]
        ages = [max(now - TIMESTAMP.unpack_from(page)[0], 0.0) for page in pages]
        contributions = [
            np.full(len(page), (age >= min_age_seconds) * FATIGUE_PER_SERVE * 2.0 ** (-age / half_life_seconds))
            for page, age in zip(ids_by_page, ages, strict=True)
        ]
        post_ids, indexes = np.unique(np.concatenate(ids_by_page), return_inverse=True)
        fatigue = np.bincount(indexes, np.concatenate(contributions), len(post_ids))
        is_tired = fatigue > 0
        return Affinity(post_ids[is_tired].astype(np.int64), np.minimum(fatigue[is_tired], 1).astype(np.float32))

    def _open(self, sealed: bytes, key: str) -> bytes | None:
        """Return the packed page, or None if no key opens it."""
        try:
            return self._seal.open(sealed, key)
        except SealError as error:
            log.warning("served_pages_not_read", extra={"problem": type(error).__name__})
            return None

    def remove(self, member_ids: Sequence[int]) -> None:
        """See `ServedHistory.remove`."""
        try:
            if member_ids:
                self._client.delete(*(served_pages_key(member_id) for member_id in member_ids))
        except redis.RedisError as error:
            log.warning("served_pages_not_removed", extra={"members": len(member_ids), "problem": type(error).__name__})


def served_pages_key(member_id: int) -> str:
    """Return the Redis key of a member's pages."""
    return f"recsys:served:{member_id}"
