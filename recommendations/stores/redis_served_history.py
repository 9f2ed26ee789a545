"""
What a member was served lately, in the cache's Redis: the last pages, packed, with a time to live.

It makes a feed tire of what was passed over. Losing it costs that and nothing else.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import redis

from recommendations.contracts import Affinity

log = logging.getLogger(__name__)

TIMESTAMP = struct.Struct("<d")
MAX_PAGES = 20
"""Pages that are remembered of a member. Changes the answer."""
TTL_SECONDS = 2 * 86_400
FATIGUE_PER_SERVE = 0.5
"""How tired a viewer is of a post the moment after it was served to them, 0 to 1. Changes the answer."""


class RedisServedHistory:
    """Keeps `ServedHistory`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def add(self, pages: Iterable[tuple[int, float, Sequence[int]]]) -> None:
        """See `ServedHistory.add`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for member_id, moment, post_ids in pages:
                    key = served_pages_key(member_id)
                    pipe.rpush(key, TIMESTAMP.pack(moment) + np.array(post_ids, "<i8").tobytes())
                    pipe.ltrim(key, -MAX_PAGES, -1)
                    pipe.expire(key, TTL_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("served_pages_not_stored", extra={"problem": type(error).__name__})

    def fatigue(self, member_id: int, now: float, half_life_seconds: float) -> Affinity:
        """See `ServedHistory.fatigue`."""
        try:
            pages = cast("list[bytes]", self._client.lrange(served_pages_key(member_id), 0, -1))
        except redis.RedisError as error:
            log.warning("served_pages_unreadable", extra={"member_id": member_id, "problem": type(error).__name__})
            return Affinity()
        if not pages:
            return Affinity()
        ids = [np.frombuffer(page[TIMESTAMP.size :], "<i8") for page in pages]
        ages = [max(now - TIMESTAMP.unpack_from(page)[0], 0.0) for page in pages]
        each = [
            np.full(len(page), FATIGUE_PER_SERVE * 2.0 ** (-age / half_life_seconds))
            for page, age in zip(ids, ages, strict=True)
        ]
        posts, place = np.unique(np.concatenate(ids), return_inverse=True)
        tired = np.bincount(place, np.concatenate(each), len(posts))
        return Affinity(posts.astype(np.int64), np.minimum(tired, 1).astype(np.float32))

    def remove(self, member_ids: Sequence[int]) -> None:
        """See `ServedHistory.forget`."""
        try:
            if member_ids:
                self._client.delete(*(served_pages_key(member_id) for member_id in member_ids))
        except redis.RedisError as error:
            log.warning("served_pages_not_removed", extra={"members": len(member_ids), "problem": type(error).__name__})


def served_pages_key(member_id: int) -> str:
    """Return the key of a member's pages."""
    return f"recsys:served:{member_id}"
