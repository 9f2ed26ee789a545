"""
Slates in Redis, packed: 12 bytes a pick behind a short header. Always with a time to live.

A slate from here is never served as it is: the last look checks it against rows read at that moment.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from typing import cast
from uuid import UUID

import numpy as np
import redis

from recommendations.contracts import Slate

log = logging.getLogger(__name__)

HEADER = struct.Struct("<BH16sdII")
VERSION = 1
SEPARATOR = "\x1f"


class SlateFormatError(ValueError):
    """Bytes that are not a slate of this version; taken for a miss."""


def pack(slate: Slate) -> bytes:
    """Return the slate in bytes, without the parts of its scores: header, names, then a column each."""
    names = SEPARATOR.join((slate.engine, slate.variant, slate.fallback)).encode()
    header = HEADER.pack(
        VERSION, len(slate), slate.request_id.bytes, slate.built_at, slate.policy_version, slate.candidates
    )
    columns = (
        slate.post_ids.astype("<i8"),
        slate.scores.astype("<f2"),
        slate.origins.astype("u1"),
        slate.reasons.astype("u1"),
    )
    return header + bytes([len(names)]) + names + b"".join(column.tobytes() for column in columns)


def unpack(packed: bytes) -> Slate:
    """Return the slate of these bytes; raise `SlateFormatError` if they are not one."""
    try:
        version, n, request_id, built_at, policy_version, candidates = HEADER.unpack_from(packed)
        if version != VERSION:
            raise SlateFormatError(f"version {version} is not {VERSION}")
        start = HEADER.size + 1 + packed[HEADER.size]
        engine, variant, fallback = packed[HEADER.size + 1 : start].decode().split(SEPARATOR)
        sizes = np.cumsum([0, 8 * n, 2 * n, n, n]) + start
        if len(packed) != sizes[-1]:
            raise SlateFormatError(f"{len(packed)} bytes are not {sizes[-1]}")
        post_ids, scores, origins, reasons = (
            np.frombuffer(packed[a:b], dtype)
            for a, b, dtype in zip(sizes[:-1], sizes[1:], ("<i8", "<f2", "u1", "u1"), strict=True)
        )
    except (struct.error, ValueError, IndexError) as error:
        raise SlateFormatError(str(error)) from error
    return Slate(
        request_id=UUID(bytes=request_id),
        engine=engine,
        variant=variant,
        policy_version=policy_version,
        fallback=fallback,
        built_at=built_at,
        candidates=candidates,
        post_ids=post_ids.astype(np.int64),
        scores=scores.astype(np.float32),
        origins=origins.astype(np.uint16),
        reasons=reasons.astype(np.uint16),
    )


class RedisSlates:
    """Keeps `SlateCache`."""

    def __init__(self, client: redis.Redis, *, keep_seconds: int) -> None:
        self._client = client
        self._keep_seconds = keep_seconds

    def get(self, member_id: int, feed: str) -> Slate | None:
        """See `SlateCache.get`."""
        try:
            packed = cast("bytes | None", self._client.hget(key_of(member_id), feed))
            return unpack(packed) if packed else None
        except (redis.RedisError, SlateFormatError) as error:
            log.warning("slate_unreadable", extra={"member_id": member_id, "problem": type(error).__name__})
            return None

    def put(self, member_id: int, feed: str, slate: Slate) -> None:
        """See `SlateCache.put`."""
        try:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(key_of(member_id), feed, pack(slate))
                pipe.expire(key_of(member_id), self._keep_seconds)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("slate_not_kept", extra={"member_id": member_id, "problem": type(error).__name__})

    def purge(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.purge`."""
        try:
            if member_ids:
                self._client.delete(*(key_of(member_id) for member_id in member_ids))
        except redis.RedisError as error:
            log.warning("slates_not_purged", extra={"members": len(member_ids), "problem": type(error).__name__})


def key_of(member_id: int) -> str:
    """Return the key of a member's slates: one hash, so that forgetting them is one command."""
    return f"recsys:slates:{member_id}"
