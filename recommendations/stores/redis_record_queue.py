"""
The queue of records of served pages: a list in the broker's Redis that requests append to and a worker writes to the
database.

Records hold only ids and numbers, and are sealed, because they disclose who was shown which posts. A batch that a
worker has taken stays in a second list until it is in the database, so that a killed worker loses nothing. Writing a
batch twice changes nothing: the request id is the key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import cast

import redis

from recommendations.stores.redis_errors import store_errors
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

WAITING_KEY = "recsys:served:waiting"
WRITING_KEY = "recsys:served:writing"
SEAL_CONTEXT = "served"
"""The context of the seal."""
MAX_WAITING = 100_000
"""Records that may wait; beyond it the oldest are dropped. Bounds the memory if no worker runs."""


class RedisRecordQueue:
    """Implements `RecordQueue`. A record's receipt is its sealed form."""

    def __init__(self, client: redis.Redis, seal: Seal, *, limit: int = MAX_WAITING) -> None:
        """*limit*: how many records may wait; beyond it the oldest are dropped."""
        self._client = client
        self._seal = seal
        self._limit = limit

    def push(self, *records: bytes) -> int:
        """See `RecordQueue.push`."""
        try:
            count = int(self._client.rpush(WAITING_KEY, *(self._seal.seal(record, SEAL_CONTEXT) for record in records)))
            if count > self._limit:
                self._client.ltrim(WAITING_KEY, -self._limit, -1)
            return min(count, self._limit)
        except redis.RedisError as error:
            log.warning("served_records_lost", extra={"problem": type(error).__name__})
            return 0

    @store_errors()
    def take(self, count: int) -> dict[bytes, bytes]:
        """See `RecordQueue.take`. A record that does not open, because its key was removed, becomes empty bytes."""
        with self._client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                pipe.lmove(WAITING_KEY, WRITING_KEY, "LEFT", "RIGHT")
            pipe.execute()
        return {sealed: self._open(sealed) for sealed in cast("list[bytes]", self._client.lrange(WRITING_KEY, 0, -1))}

    def _open(self, sealed: bytes) -> bytes:
        try:
            return self._seal.open(sealed, SEAL_CONTEXT)
        except SealError as error:
            log.warning("served_records_lost", extra={"problem": type(error).__name__})
            return b""

    @store_errors()
    def acknowledge(self, receipts: Iterable[bytes]) -> None:
        """See `RecordQueue.acknowledge`."""
        with self._client.pipeline(transaction=True) as pipe:
            for receipt in receipts:
                pipe.lrem(WRITING_KEY, 1, receipt)  # type: ignore[arg-type]  # redis-py accepts bytes, but its type hints do not
            pipe.execute()
