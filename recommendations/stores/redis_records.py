"""
What was served, on its way to the database: a list in the broker's Redis, written in the request, drained by a worker.

Only ids and numbers travel, and sealed: they tell who was shown what. A batch being written stays in a second list
until it is in the database, so that a worker killed in the middle loses nothing; writing it twice changes nothing (the
request id is the key).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import cast

import redis

from recommendations.stores.sealing import Seal, SealError

log = logging.getLogger(__name__)

WAITING = "recsys:served:waiting"
WRITING = "recsys:served:writing"
PLACE = "served"
"""What the records are sealed for."""
LIMIT = 100_000
"""Records that may wait; over it the oldest go. Bounds the memory if no worker runs."""


class RedisRecords:
    """A queue of packed records."""

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._client = client
        self._seal = seal

    def push(self, *records: bytes) -> int:
        """Add records and return how many wait; 0 if Redis cannot be reached, which loses them."""
        try:
            count = int(self._client.rpush(WAITING, *(self._seal.seal(record, PLACE) for record in records)))
            if count > LIMIT:
                self._client.ltrim(WAITING, -LIMIT, -1)
            return count
        except redis.RedisError as error:
            log.warning("served_record_lost", extra={"problem": type(error).__name__})
            return 0

    def take(self, count: int) -> dict[bytes, bytes]:
        """
        Move up to *count* waiting records to those being written, and return all of the latter, by their sealed form.

        One that does not open is empty: its key is gone, and what it recorded is lost.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                pipe.lmove(WAITING, WRITING, "LEFT", "RIGHT")
            pipe.execute()
        return {sealed: self._opened(sealed) for sealed in cast("list[bytes]", self._client.lrange(WRITING, 0, -1))}

    def _opened(self, sealed: bytes) -> bytes:
        try:
            return self._seal.open(sealed, PLACE)
        except SealError as error:
            log.warning("served_record_lost", extra={"problem": type(error).__name__})
            return b""

    def written(self, sealed: Iterable[bytes]) -> None:
        """Forget records, in their sealed form, that are in the database now."""
        with self._client.pipeline(transaction=True) as pipe:
            for record in sealed:
                pipe.lrem(WRITING, 1, record)  # type: ignore[arg-type]  # redis-py takes bytes, its types do not
            pipe.execute()
