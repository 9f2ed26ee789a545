"""
A dictionary of entries with a time to live and a time of last use. It replaces Redis for the in-memory stores.

The in-memory twins of the Redis stores (`memory_*.py`) use it, so that a test needs no server and no waiting: the
clock is a parameter. Not thread-safe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from recommendations.contracts import SweepResult

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[V]):
    """A value and the time at which it expires. Times are Unix seconds."""

    value: V
    expires_at: float
    used_at: int | None = None
    """The last use, for a sweep. If it is None, the budget does not count this entry."""


class MemoryEntries(Generic[K, V]):
    """A dictionary whose entries expire."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """*clock* returns the current time in Unix seconds."""
        self._clock = clock
        self._entries: dict[K, Entry[V]] = {}

    def get(self, key: K) -> V | None:
        """Return the value of *key*, or None if there is none or it has expired."""
        entry = self._live(key)
        return entry.value if entry else None

    def put(self, key: K, value: V, *, seconds: float) -> None:
        """Set the value of *key* for *seconds* from now. Its last use is not changed."""
        earlier = self._live(key)
        self._entries[key] = Entry(value, self._clock() + seconds, earlier.used_at if earlier else None)

    def remove(self, key: K) -> None:
        """Remove *key*. A missing key is no error."""
        self._entries.pop(key, None)

    def use(self, key: K, now: float) -> None:
        """Set the last use of *key*, which exists, to *now*, in whole seconds, unless it was used later."""
        entry = self._entries[key]
        entry.used_at = max(int(now), entry.used_at or 0)

    def keys(self) -> list[K]:
        """Return the keys whose entries have not expired."""
        return [key for key in list(self._entries) if self._live(key)]

    def sweep(self, now: float, *, ttl_seconds: float, max_entries: int) -> SweepResult:
        """See `BudgetedCache.sweep`. An entry has expired if its last use is *ttl_seconds* or more before *now*."""
        used = {key: entry.used_at for key, entry in self._entries.items() if entry.used_at is not None}
        by_use = sorted(used, key=lambda key: used[key])
        expired = [key for key in by_use if used[key] <= now - ttl_seconds]
        evicted = by_use[len(expired) : max(len(expired), len(by_use) - max_entries)]
        for key in (*expired, *evicted):
            self.remove(key)
        left = by_use[len(expired) + len(evicted) :]
        size = sum(sys.getsizeof(self._entries[key].value) for key in left)
        return SweepResult(len(expired), len(evicted), len(left), size)

    def _live(self, key: K) -> Entry[V] | None:
        entry = self._entries.get(key)
        if entry and entry.expires_at <= self._clock():
            self.remove(key)
            return None
        return entry
