"""
Slates in Redis: packed (a short header, then 10 bytes per pick, or 14 for long ids), sealed, with a time to live.

A cached slate is never served as is: the final check tests it against rows read at that moment.

Epochs. A slate takes time to build. If the member's slates are purged in that time, for instance because the member
withdrew consent, a plain write would put a slate built on the old facts back into the cache. So each member has an
epoch, a random value in the same hash as the slates. A builder reads the epoch before it starts and passes it
to `put`, which stores the slate only if the epoch is still the same; a Lua script makes the comparison and the write
one step. Every purge and retirement deletes the slates and writes a new epoch, also in one step. The epoch itself is
not sealed: it is random and discloses nothing. If Redis cannot be read, the epoch is `UNKNOWN_EPOCH`, which never
matches. An epoch expires after `EPOCH_SECONDS`; a builder that takes longer could store an outdated slate, which the
final check would still filter.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Collection, Sequence
from typing import Any, cast
from uuid import UUID

import numpy as np
import redis
from numpy.typing import NDArray
from redis.commands.core import Script

from recommendations.contracts import ServedSlate, Slate, SweepResult
from recommendations.stores.redis_lru import LruIndex
from recommendations.stores.seal import Seal, SealError

log = logging.getLogger(__name__)

HEADER = struct.Struct("<BH16sdII")
COLUMNS = {
    1: ("<i8", "<f2", "<u2", "<u2"),
    2: ("<u4", "<f2", "<u2", "<u2"),
}
"""The types of each version's columns: ids, scores, origins, reasons. Version 2 is for ids below 2^32."""
LONG_IDS, SHORT_IDS = 1, 2
SEPARATOR = "\x1f"
"""Separates the names in a packed slate or record."""
PURGE_BATCH = 500


class SlateFormatError(ValueError):
    """Bytes that are not a packed slate, or a slate with a value that does not fit its packed field."""


def pack(slate: Slate) -> bytes:
    """
    Return the slate as bytes: header, names, then the columns. The parts of the scores are left out.

    Only the scores are rounded, to a thousandth. Raises `SlateFormatError` if a value does not fit its field.
    """
    has_short_ids = not len(slate) or 0 <= slate.post_ids.min() <= slate.post_ids.max() < 2**32
    version = SHORT_IDS if has_short_ids else LONG_IDS
    columns: tuple[NDArray[Any], ...] = (slate.post_ids, slate.scores, slate.origins, slate.reasons)
    try:
        header = HEADER.pack(
            version, len(slate), slate.request_id.bytes, slate.built_at, slate.policy_version, slate.candidate_count
        )
        with np.errstate(over="ignore", invalid="ignore"):
            packed = [packed_column(*pair, len(slate)) for pair in zip(columns, COLUMNS[version], strict=True)]
        return header + packed_names(slate.engine, slate.variant, slate.fallback) + b"".join(packed)
    except (struct.error, ValueError) as error:
        raise SlateFormatError(str(error)) from error


def packed_names(*names: str) -> bytes:
    """Return the names behind their length (one byte). Raises `ValueError` for long names or one with the separator."""
    if any(SEPARATOR in name for name in names):
        raise ValueError(f"{names} contain the separator")
    joined = SEPARATOR.join(names).encode()
    return bytes([len(joined)]) + joined


def packed_column(values: NDArray[Any], dtype: str, n: int) -> bytes:
    """Return *values* (n,) as *dtype*, in bytes. Raises `ValueError` if a value does not fit."""
    packed = values.astype(dtype)
    if packed.dtype.kind == "f":
        fits = bool(np.isfinite(packed).all())
    else:
        fits = packed.dtype == values.dtype or bool((packed == values).all())
    if values.shape != (n,) or not fits:
        raise ValueError(f"a column of {values.dtype}, {values.shape}, does not fit {n} values of {dtype}")
    return packed.tobytes()


def unpack(packed: bytes) -> Slate:
    """Return the slate that was packed. Raises `SlateFormatError` if the bytes are not a packed slate."""
    try:
        version, n, request_id, built_at, policy_version, candidates = HEADER.unpack_from(packed)
        if version not in COLUMNS:
            raise SlateFormatError(f"version {version} is not one of {', '.join(map(str, COLUMNS))}")
        start = HEADER.size + 1 + packed[HEADER.size]
        engine, variant, fallback = packed[HEADER.size + 1 : start].decode().split(SEPARATOR)
        dtypes = COLUMNS[version]
        sizes = np.cumsum([0, *(np.dtype(dtype).itemsize * n for dtype in dtypes)]) + start
        if len(packed) != sizes[-1]:
            raise SlateFormatError(f"expected {sizes[-1]} bytes, got {len(packed)}")
        post_ids, scores, origins, reasons = (
            np.frombuffer(packed[a:b], dtype) for a, b, dtype in zip(sizes[:-1], sizes[1:], dtypes, strict=True)
        )
        if not np.isfinite(scores).all():
            raise SlateFormatError("a score is not finite")
    except (struct.error, ValueError, IndexError) as error:
        raise SlateFormatError(str(error)) from error
    return Slate(
        request_id=UUID(bytes=request_id),
        engine=engine,
        variant=variant,
        policy_version=policy_version,
        fallback=fallback,
        built_at=built_at,
        candidate_count=candidates,
        post_ids=post_ids.astype(np.int64),
        scores=scores.astype(np.float32),
        origins=origins.astype(np.uint16),
        reasons=reasons.astype(np.uint16),
    )


SERVED_HEAD = struct.Struct("<BII")
SERVED_VERSION = 1


def pack_served(served: ServedSlate) -> bytes:
    """Return the served slate as bytes: a version, the numbers of ids, then the rest compressed with zlib."""
    # Sorted ids are packed as differences, which compress to one or two bytes each.
    gaps = np.diff(served.earlier_post_ids, prepend=0).astype("<i8")
    ids = gaps.tobytes() + served.page_post_ids.astype("<i8").tobytes()
    head = SERVED_HEAD.pack(SERVED_VERSION, len(gaps), len(served.page_post_ids))
    return head + zlib.compress(ids + served.record, 1)


def unpack_served(packed: bytes) -> ServedSlate:
    """Return the served slate that was packed. Raises `SlateFormatError` if the bytes are not one."""
    try:
        version, earlier_count, page_count = SERVED_HEAD.unpack_from(packed)
        if version != SERVED_VERSION:
            raise SlateFormatError(f"version {version} is not {SERVED_VERSION}")
        data = zlib.decompress(packed[SERVED_HEAD.size :])
        page_start, record_start = 8 * earlier_count, 8 * (earlier_count + page_count)
        earlier = np.cumsum(np.frombuffer(data[:page_start], "<i8"))
        return ServedSlate(data[record_start:], earlier, np.frombuffer(data[page_start:record_start], "<i8"))
    except (struct.error, ValueError, zlib.error) as error:
        raise SlateFormatError(str(error)) from error


INDEX_KEY = "recsys:slates:index"
PREFIX = "recsys:slates:{"
UNKNOWN_EPOCH = b"unknown"
"""The epoch while Redis cannot be read. It matches no stored epoch, so no slate built in it is cached."""
EPOCH_SECONDS = 600
"""Time to live of an epoch: longer than building a slate takes."""
MAX_SERVED = 10
"""Served slates stored per member. Changes the answer of a reader who pages in more feeds at once."""
SERVED_SECONDS = 900
"""Time to live of served slates, about 10 KB each. A worker records them in the database within seconds."""
PUT_SCRIPT = """
    if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    return 1"""
PURGE_SCRIPT = """
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[2])"""
RETIRE_SCRIPT = """
    local slates = redis.call('HGETALL', KEYS[1])
    for i = 1, #slates, 2 do
        if slates[i] ~= 'epoch' then redis.call('HSET', KEYS[2], slates[i], slates[i + 1]) end
    end
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[2])"""

REMOVED_SECONDS = 60
"""How long no slate of a member is stored after `remove_served`: longer than a request takes that had begun before."""
ADD_SERVED_SCRIPT = """
    if redis.call('HEXISTS', KEYS[1], 'epoch') == 1 then return 0 end
    local order = redis.call('HGET', KEYS[1], 'order') or ''
    if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then order = order .. ARGV[1] end
    while #order > ARGV[3] * #ARGV[1] do
        redis.call('HDEL', KEYS[1], string.sub(order, 1, #ARGV[1]))
        order = string.sub(order, #ARGV[1] + 1)
    end
    redis.call('HSET', KEYS[1], 'order', order)
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    return 1"""
"""Adds a field and removes the oldest ones. The field `order` has the names of the others, oldest first."""
REMOVE_SERVED_SCRIPT = """
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'epoch', '')
    redis.call('EXPIRE', KEYS[1], ARGV[1])"""
"""Leaves a hash with the field `epoch` only, as a purge of slates does."""


class RedisSlates:
    """Implements `SlateCache`. A member's slates are a hash with a field per feed, the last good slates another one."""

    def __init__(self, client: redis.Redis, seal: Seal, *, ttl_seconds: int) -> None:
        self._client = client
        self._seal = seal
        self._ttl_seconds = ttl_seconds
        self._index = LruIndex(client, INDEX_KEY)
        self._purge, self._retire = (client.register_script(text) for text in (PURGE_SCRIPT, RETIRE_SCRIPT))

    def get(self, member_id: int, feed_key: str) -> Slate | None:
        """See `SlateCache.get`."""
        return self.get_many_with_epoch(member_id, (feed_key,))[0][0]

    def get_many_with_epoch(self, member_id: int, feed_keys: Sequence[str]) -> tuple[list[Slate | None], bytes]:
        """See `SlateCache.get_many_with_epoch`."""
        try:
            values = cast("list[bytes | None]", self._client.hmget(slates_key(member_id), ["epoch", *feed_keys]))
        except redis.RedisError as error:
            log_unreadable(member_id, error)
            return [None] * len(feed_keys), UNKNOWN_EPOCH
        slates = [self._open(sealed, member_id, feed) for sealed, feed in zip(values[1:], feed_keys, strict=True)]
        return slates, values[0] or b""

    def get_last_good(self, member_id: int, feed_key: str) -> Slate | None:
        """See `SlateCache.get_last_good`."""
        if slate := self.get(member_id, feed_key):
            return slate
        try:
            sealed = cast("bytes | None", self._client.hget(last_slates_key(member_id), feed_key))
        except redis.RedisError as error:
            log_unreadable(member_id, error)
            return None
        return self._open(sealed, member_id, feed_key)

    def epoch(self, member_id: int) -> bytes:
        """See `SlateCache.epoch`."""
        return self.get_many_with_epoch(member_id, ())[1]

    def put(self, member_id: int, feed_key: str, slate: Slate, epoch: bytes) -> None:
        """See `SlateCache.put`."""
        key = slates_key(member_id)
        try:
            sealed = self._seal.seal(pack(slate), seal_context(member_id, feed_key))
            with self._client.pipeline(transaction=False) as pipe:
                pipe.eval(PUT_SCRIPT, 1, key, epoch, feed_key, sealed, self._ttl_seconds)
                # If the slate is not stored, the index has one key too many. A sweep removes it at no cost.
                self._index.touch(pipe, [key], slate.built_at)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("slate_not_cached", extra={"member_id": member_id, "problem": type(error).__name__})
        except SlateFormatError:  # A bug in the packing must not fail the request.
            log.exception("slate_not_cached", extra={"member_id": member_id})

    def purge(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.purge`."""
        self._run_for_members(member_ids, self._purge, "slates_not_purged")

    def purge_all(self) -> None:
        """See `SlateCache.purge_all`."""
        try:
            names = self._client.scan_iter(match=f"{PREFIX}*", count=1000)
            members = sorted({int(name[len(PREFIX) :].partition(b"}")[0]) for name in names})
        except redis.RedisError as error:
            log.warning("slates_not_purged", extra={"problem": type(error).__name__})
            return
        self.purge(members)

    def retire(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.retire`."""
        self._run_for_members(member_ids, self._retire, "slates_not_retired")

    def claim(self, member_id: int, feed_key: str, *, seconds: int) -> bool:
        """See `SlateCache.claim`."""
        try:
            return bool(self._client.set(slate_lock_key(member_id, feed_key), b"1", nx=True, ex=seconds))
        except redis.RedisError:
            return False

    def release(self, member_id: int, feed_key: str) -> None:
        """See `SlateCache.release`."""
        try:
            self._client.delete(slate_lock_key(member_id, feed_key))
        except redis.RedisError as error:
            log.warning("slate_claim_not_released", extra={"member_id": member_id, "problem": type(error).__name__})

    def add_served(self, member_id: int, request_id: UUID, served: ServedSlate) -> bool:
        """See `SlateCache.add_served`."""
        key, name = served_slates_key(member_id), request_id.hex
        sealed = self._seal.seal(pack_served(served), seal_context(member_id, name))
        try:
            return bool(self._client.eval(ADD_SERVED_SCRIPT, 1, key, name, sealed, MAX_SERVED, SERVED_SECONDS))
        except redis.RedisError as error:
            log.warning("served_slate_not_stored", extra={"member_id": member_id, "problem": type(error).__name__})
            return False

    def get_served(self, member_id: int, request_ids: Collection[UUID]) -> dict[UUID, ServedSlate]:
        """See `SlateCache.get_served`."""
        found: dict[UUID, ServedSlate] = {}
        try:
            names = [request_id.hex for request_id in request_ids]
            stored = cast("list[bytes | None]", self._client.hmget(served_slates_key(member_id), names))
        except redis.RedisError as error:
            log_unreadable(member_id, error)
            return found
        for request_id, sealed in zip(request_ids, stored, strict=True):
            try:
                if sealed:
                    context = seal_context(member_id, request_id.hex)
                    found[request_id] = unpack_served(self._seal.open(sealed, context))
            except (SealError, SlateFormatError) as error:
                log_unreadable(member_id, error)
        return found

    def remove_served(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.remove_served`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for member_id in member_ids:
                    pipe.eval(REMOVE_SERVED_SCRIPT, 1, served_slates_key(member_id), REMOVED_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            log.warning(
                "served_slates_not_removed", extra={"members": len(member_ids), "problem": type(error).__name__}
            )

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `SlateCache.sweep`."""
        return self._index.sweep(now, ttl_seconds=self._ttl_seconds, max_entries=max_entries)

    def _open(self, sealed: bytes | None, member_id: int, feed: str) -> Slate | None:
        try:
            return unpack(self._seal.open(sealed, seal_context(member_id, feed))) if sealed else None
        except (SealError, SlateFormatError) as error:
            log_unreadable(member_id, error)
            return None

    def _run_for_members(self, member_ids: Sequence[int], script: Script, failure: str) -> None:
        try:
            for start in range(0, len(member_ids), PURGE_BATCH):
                with self._client.pipeline(transaction=False) as pipe:
                    for member_id in member_ids[start : start + PURGE_BATCH]:
                        keys = [slates_key(member_id), last_slates_key(member_id)]
                        script(keys=keys, args=[os.urandom(8), EPOCH_SECONDS, self._ttl_seconds], client=pipe)
                    pipe.execute()
        except redis.RedisError as error:
            log.warning(failure, extra={"members": len(member_ids), "problem": type(error).__name__})


def log_unreadable(member_id: int, error: Exception) -> None:
    """Log that a slate could not be read. The caller treats it as a miss."""
    log.warning("slate_not_read", extra={"member_id": member_id, "problem": type(error).__name__})


def slates_key(member_id: int) -> str:
    """Return the key of a member's slates. The braces put all keys of a member into one slot of a Redis cluster."""
    return f"recsys:slates:{{{member_id}}}"


def last_slates_key(member_id: int) -> str:
    """Return the key of a member's last good slates: those that were retired."""
    return f"{slates_key(member_id)}:last"


def served_slates_key(member_id: int) -> str:
    """Return the key of the slates that a member was served recently."""
    return f"{slates_key(member_id)}:served"


def slate_lock_key(member_id: int, feed_key: str) -> str:
    """Return the key of the lock that a builder of this slate holds."""
    return f"{slates_key(member_id)}:lock:{feed_key}"


def seal_context(member_id: int, feed_key: str) -> str:
    """Return the context that a slate is sealed for, so that it opens only for this member and feed."""
    return f"slate:{member_id}:{feed_key}"
