"""
What was served, on its way to the database: a list in the broker's Redis, written in the request, drained by a worker.

Only ids and numbers travel. A batch being written stays in a second list until it is in the database, so that a
worker killed in the middle loses nothing; writing it twice changes nothing (the request id is the key).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import redis

log = logging.getLogger(__name__)

WAITING = "recsys:served:waiting"
WRITING = "recsys:served:writing"
LIMIT = 100_000
"""Records that may wait; over it the oldest go. Bounds the memory if no worker runs."""


class RedisRecords:
    """A queue of packed records."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def push(self, *records: bytes) -> int:
        """Add records and return how many wait; 0 if Redis cannot be reached, which loses them."""
        try:
            count = int(self._client.rpush(WAITING, *records))
            if count > LIMIT:
                self._client.ltrim(WAITING, -LIMIT, -1)
            return count
        except redis.RedisError as error:
            log.warning("served_record_lost", extra={"problem": type(error).__name__})
            return 0

    def take(self, count: int) -> list[bytes]:
        """Move up to *count* waiting records to those being written, and return all of the latter."""
        with self._client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                pipe.lmove(WAITING, WRITING, "LEFT", "RIGHT")
            pipe.execute()
        return cast("list[bytes]", self._client.lrange(WRITING, 0, -1))

    def written(self, records: Sequence[bytes]) -> None:
        """Forget records that are in the database now."""
        with self._client.pipeline(transaction=True) as pipe:
            for record in records:
                pipe.lrem(WRITING, 1, record)  # type: ignore[arg-type]  # redis-py takes bytes, its types do not
            pipe.execute()
