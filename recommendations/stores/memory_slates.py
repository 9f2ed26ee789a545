"""The in-memory twin of `RedisSlates`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from uuid import UUID

from recommendations.contracts import ServedSlate, Slate, SweepResult
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_slates import (
    EPOCH_SECONDS,
    MAX_SERVED,
    REMOVED_SECONDS,
    SERVED_SECONDS,
    SlateFormatError,
    pack,
    unpack,
)

EPOCH = "epoch"


class MemorySlates:
    """Implements `SlateCache` in dictionaries. Slates are packed as in Redis, but not sealed."""

    def __init__(self, *, clock: Callable[[], float], ttl_seconds: int) -> None:
        self._ttl_seconds = ttl_seconds
        self._slates = MemoryEntries[int, dict[str, bytes]](clock)
        self._last_good = MemoryEntries[int, dict[str, bytes]](clock)
        self._claims = MemoryEntries[tuple[int, str], bool](clock)
        self._served = MemoryEntries[int, dict[UUID, ServedSlate]](clock)
        self._removed = MemoryEntries[int, bool](clock)

    def get(self, member_id: int, feed_key: str) -> Slate | None:
        """See `SlateCache.get`."""
        packed = (self._slates.get(member_id) or {}).get(feed_key)
        return unpack(packed) if packed else None

    def get_last_good(self, member_id: int, feed_key: str) -> Slate | None:
        """See `SlateCache.get_last_good`."""
        packed = ((self._last_good.get(member_id) or {}) | (self._slates.get(member_id) or {})).get(feed_key)
        return unpack(packed) if packed else None

    def get_many_with_epoch(self, member_id: int, feed_keys: Sequence[str]) -> tuple[list[Slate | None], bytes]:
        """See `SlateCache.get_many_with_epoch`."""
        return [self.get(member_id, feed) for feed in feed_keys], self.epoch(member_id)

    def epoch(self, member_id: int) -> bytes:
        """See `SlateCache.epoch`."""
        return (self._slates.get(member_id) or {}).get(EPOCH, b"")

    def put(self, member_id: int, feed_key: str, slate: Slate, epoch: bytes) -> None:
        """See `SlateCache.put`."""
        if epoch != self.epoch(member_id):
            return
        with suppress(SlateFormatError):
            slates = (self._slates.get(member_id) or {}) | {feed_key: pack(slate)}
            self._slates.put(member_id, slates, seconds=self._ttl_seconds)
            self._slates.use(member_id, slate.built_at)

    def purge(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.purge`."""
        for member_id in member_ids:
            self._last_good.remove(member_id)
            self._renew_epoch(member_id)

    def purge_all(self) -> None:
        """See `SlateCache.purge_all`."""
        self.purge([*self._slates.keys(), *self._last_good.keys()])

    def retire(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.retire`."""
        for member_id in member_ids:
            slates = (self._last_good.get(member_id) or {}) | (self._slates.get(member_id) or {})
            slates.pop(EPOCH, None)
            self._last_good.put(member_id, slates, seconds=self._ttl_seconds)
            self._renew_epoch(member_id)

    def claim(self, member_id: int, feed_key: str, *, seconds: int) -> bool:
        """See `SlateCache.claim`."""
        is_free = self._claims.get((member_id, feed_key)) is None
        if is_free:
            self._claims.put((member_id, feed_key), True, seconds=seconds)
        return is_free

    def release(self, member_id: int, feed_key: str) -> None:
        """See `SlateCache.release`."""
        self._claims.remove((member_id, feed_key))

    def add_served(self, member_id: int, request_id: UUID, served: ServedSlate) -> bool:
        """See `SlateCache.add_served`."""
        if self._removed.get(member_id):
            return False
        slates = (self._served.get(member_id) or {}) | {request_id: served}
        self._served.put(member_id, dict(list(slates.items())[-MAX_SERVED:]), seconds=SERVED_SECONDS)
        return True

    def get_served(self, member_id: int, request_ids: Collection[UUID]) -> dict[UUID, ServedSlate]:
        """See `SlateCache.get_served`."""
        slates = self._served.get(member_id) or {}
        return {request_id: slates[request_id] for request_id in request_ids if request_id in slates}

    def remove_served(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.remove_served`."""
        for member_id in member_ids:
            self._served.remove(member_id)
            self._removed.put(member_id, True, seconds=REMOVED_SECONDS)

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """See `SlateCache.sweep`."""
        return self._slates.sweep(now, ttl_seconds=self._ttl_seconds, max_entries=max_entries)

    def _renew_epoch(self, member_id: int) -> None:
        """Remove the member's slates and start a new epoch."""
        self._slates.remove(member_id)
        self._slates.put(member_id, {EPOCH: os.urandom(8)}, seconds=EPOCH_SECONDS)
