"""
The queue of records of served pages: a list in the broker's Redis that requests append to and workers write to the
database.

Records hold only ids and numbers, and are sealed, because they disclose who was shown which posts. A worker takes a
batch: one script moves the records to a list of their own and sets a lease, so that no other worker gets them. The
batch stays in Redis until it is in the database. If its worker is killed, the lease expires and the next worker takes
the same batch.
"""

from __future__ import annotations

import logging
from typing import cast
from uuid import uuid4

import redis

from recommendations.contracts import RecordBatch
from recommendations.stores.redis_errors import store_errors
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

WAITING_KEY = "recsys:served:waiting"
BATCHES_KEY = "recsys:served:batches"
"""The ids of the batches that were taken and not acknowledged, oldest first."""
FORMER_BATCH_KEY = "recsys:served:writing"
"""
The one batch of earlier versions, which a killed worker may have left. A worker takes it over once no worker of such a
version has touched it for the time of a lease: during an upgrade both run.
"""
BATCH_PREFIX = "recsys:served:batch:"
LEASE_PREFIX = "recsys:served:lease:"
ASIDE_KEY = "recsys:served:aside"
"""Records of a layout that the worker which took them does not know."""
ASIDE_RETRIED_KEY = "recsys:served:aside:retried"
"""Exists for `ASIDE_SECONDS` after those records were set aside or waited again."""
ASIDE_KEPT_KEY = "recsys:served:aside:kept"
"""Exists for `ASIDE_KEPT_SECONDS` after the first of those records was set aside."""
ASIDE_SECONDS = 300
ASIDE_KEPT_SECONDS = 7 * 86_400
LEASE_SECONDS = 60
"""How long a batch belongs to the worker that took it: far longer than writing a batch takes."""
SEAL_CONTEXT = "served"
"""The context of the seal."""
MAX_WAITING = 100_000
"""Records that may wait; beyond it the oldest are dropped. Bounds the memory if no worker runs."""
TAKE_SCRIPT = f"""
    local function lease(id)
        return redis.call('SET', '{LEASE_PREFIX}' .. id, '', 'NX', 'EX', {LEASE_SECONDS})
    end
    local function batch(id)
        return {{id, redis.call('LRANGE', '{BATCH_PREFIX}' .. id, 0, -1)}}
    end
    for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
        if lease(id) then return batch(id) end
    end
    local idle = redis.pcall('OBJECT', 'IDLETIME', '{FORMER_BATCH_KEY}')
    if type(idle) == 'number' and idle >= {LEASE_SECONDS} then
        redis.call('RENAME', '{FORMER_BATCH_KEY}', '{BATCH_PREFIX}' .. ARGV[2])
        redis.call('RPUSH', KEYS[2], ARGV[2])
        lease(ARGV[2])
        return batch(ARGV[2])
    end
    if redis.call('EXISTS', KEYS[1], '{ASIDE_RETRIED_KEY}') == 0 and redis.call('EXISTS', '{ASIDE_KEY}') == 1 then
        if redis.call('EXISTS', '{ASIDE_KEPT_KEY}') == 1 then
            redis.call('RENAME', '{ASIDE_KEY}', KEYS[1])
            redis.call('SET', '{ASIDE_RETRIED_KEY}', '', 'EX', {ASIDE_SECONDS})
        else
            redis.call('DEL', '{ASIDE_KEY}')
        end
    end
    local records = redis.call('LPOP', KEYS[1], ARGV[1])
    if not records then return false end
    redis.call('RPUSH', '{BATCH_PREFIX}' .. ARGV[2], unpack(records))
    redis.call('RPUSH', KEYS[2], ARGV[2])
    lease(ARGV[2])
    return batch(ARGV[2])"""


class RedisRecordQueue:
    """Implements `RecordQueue`."""

    def __init__(self, client: redis.Redis, seal: Seal, *, limit: int = MAX_WAITING) -> None:
        """*limit*: how many records may wait; beyond it the oldest are dropped."""
        self._client = client
        self._seal = seal
        self._limit = limit
        self._take = client.register_script(TAKE_SCRIPT)

    def push(self, *records: bytes) -> int:
        """See `RecordQueue.push`."""
        try:
            count = int(self._client.rpush(WAITING_KEY, *(self._seal.seal(record, SEAL_CONTEXT) for record in records)))
            if count > self._limit:
                self._client.ltrim(WAITING_KEY, -self._limit, -1)
            return min(count, self._limit)
        except redis.RedisError:
            return 0

    @store_errors()
    def take(self, count: int) -> RecordBatch | None:
        """See `RecordQueue.take`. A record that does not open, because its key was removed, becomes empty bytes."""
        taken = cast(
            "tuple[bytes, list[bytes]] | None",
            self._take(keys=[WAITING_KEY, BATCHES_KEY], args=[count, uuid4().hex]),
        )
        if taken is None:
            return None
        batch_id, sealed = taken
        return RecordBatch(batch_id.decode(), [self._open(record) for record in sealed])

    def _open(self, sealed: bytes) -> bytes:
        try:
            return self._seal.open(sealed, SEAL_CONTEXT)
        except SealError as error:
            log.warning("served_records_lost", extra={"problem": type(error).__name__})
            return b""

    @store_errors()
    def acknowledge(self, batch_id: str) -> None:
        """See `RecordQueue.acknowledge`."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.lrem(BATCHES_KEY, 0, batch_id)
            pipe.delete(BATCH_PREFIX + batch_id, LEASE_PREFIX + batch_id)
            pipe.execute()

    @store_errors()
    def set_aside(self, *records: bytes) -> None:
        """See `RecordQueue.set_aside`."""
        with self._client.pipeline(transaction=True) as pipe:
            pipe.rpush(ASIDE_KEY, *(self._seal.seal(record, SEAL_CONTEXT) for record in records))
            pipe.ltrim(ASIDE_KEY, -self._limit, -1)
            pipe.set(ASIDE_RETRIED_KEY, b"", nx=True, ex=ASIDE_SECONDS)
            pipe.set(ASIDE_KEPT_KEY, b"", nx=True, ex=ASIDE_KEPT_SECONDS)
            pipe.execute()
