"""Stub twins of the stores, for tests of what is around them. `tests/spec/` holds them to the same law."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from recommendations.contracts import Slate
from recommendations.stores.redis_slates import SlateFormatError, pack, unpack


class MemorySlates:
    """Keeps `SlateCache` in a dictionary, packed as Redis would have it; nothing ages."""

    def __init__(self) -> None:
        self._slates: dict[int, dict[str, bytes]] = {}
        self._last: dict[int, dict[str, bytes]] = {}
        self._epochs: dict[int, bytes] = {}
        self._claims: set[tuple[int, str]] = set()

    def get(self, member_id: int, feed: str) -> Slate | None:
        """See `SlateCache.get`."""
        packed = self._slates.get(member_id, {}).get(feed)
        return unpack(packed) if packed else None

    def last_good(self, member_id: int, feed: str) -> Slate | None:
        """See `SlateCache.last_good`."""
        packed = (self._last.get(member_id, {}) | self._slates.get(member_id, {})).get(feed)
        return unpack(packed) if packed else None

    def look_up(self, member_id: int, feeds: Sequence[str]) -> tuple[list[Slate | None], bytes]:
        """See `SlateCache.look_up`."""
        return [self.get(member_id, feed) for feed in feeds], self.epoch(member_id)

    def epoch(self, member_id: int) -> bytes:
        """See `SlateCache.epoch`."""
        return self._epochs.get(member_id, b"")

    def put(self, member_id: int, feed: str, slate: Slate, epoch: bytes) -> None:
        """See `SlateCache.put`."""
        if epoch == self.epoch(member_id):
            with suppress(SlateFormatError):
                self._slates.setdefault(member_id, {})[feed] = pack(slate)

    def purge(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.purge`."""
        self.retire(member_ids)
        for member_id in member_ids:
            self._last.pop(member_id, None)

    def purge_all(self) -> None:
        """See `SlateCache.purge_all`."""
        self.purge([*self._slates, *self._last])

    def retire(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.retire`."""
        for member_id in member_ids:
            self._last.setdefault(member_id, {}).update(self._slates.pop(member_id, {}))
            self._epochs[member_id] = os.urandom(8)

    def claim(self, member_id: int, feed: str, *, seconds: int) -> bool:
        """See `SlateCache.claim`; this one does not expire."""
        is_free = (member_id, feed) not in self._claims
        self._claims.add((member_id, feed))
        return is_free

    def release(self, member_id: int, feed: str) -> None:
        """See `SlateCache.release`."""
        self._claims.discard((member_id, feed))
