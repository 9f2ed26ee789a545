"""Stub twins of the stores, for tests of what is around them. `tests/spec/` holds them to the same law."""

from __future__ import annotations

from collections.abc import Sequence

from recommendations.contracts import Slate
from recommendations.stores.redis_slates import pack, unpack


class MemorySlates:
    """Keeps `SlateCache` in a dictionary, packed as Redis would have it; nothing ages."""

    def __init__(self) -> None:
        self._slates: dict[int, dict[str, bytes]] = {}

    def get(self, member_id: int, feed: str) -> Slate | None:
        """See `SlateCache.get`."""
        packed = self._slates.get(member_id, {}).get(feed)
        return unpack(packed) if packed else None

    def put(self, member_id: int, feed: str, slate: Slate) -> None:
        """See `SlateCache.put`."""
        self._slates.setdefault(member_id, {})[feed] = pack(slate)

    def purge(self, member_ids: Sequence[int]) -> None:
        """See `SlateCache.purge`."""
        for member_id in member_ids:
            self._slates.pop(member_id, None)
