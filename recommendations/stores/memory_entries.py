"""
Entries with a time to live and a moment of last use, in a dictionary: what Redis does for the stores that are on it.

The in-memory twins of those stores (`memory_*.py`) keep their entries here, so that a test needs no server and no
waiting: the clock is handed in. Not safe under threads.
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
    """A value, and until when it is there. Moments are Unix seconds."""

    value: V
    expires_at: float
    used_at: int | None = None
    """The last use, for a sweep; None: the budget does not count this entry."""


class MemoryEntries(Generic[K, V]):
    """A dictionary whose entries expire."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """*clock* returns the present moment in Unix seconds."""
        self._clock = clock
        self._entries: dict[K, Entry[V]] = {}

    def get(self, key: K) -> V | None:
        """Return the value of *key*, or None if it has none or has outlived its time."""
        entry = self._live(key)
        return entry.value if entry else None

    def put(self, key: K, value: V, *, seconds: float) -> None:
        """Set the value of *key* for *seconds* from now; its last use stays as it was."""
        before = self._live(key)
        self._entries[key] = Entry(value, self._clock() + seconds, before.used_at if before else None)

    def remove(self, key: K) -> None:
        """Remove *key*; one that is not there is no error."""
        self._entries.pop(key, None)

    def use(self, key: K, now: float) -> None:
        """Set the last use of *key* to *now*, in whole seconds, unless it has none or has a later one."""
        if entry := self._live(key):
            entry.used_at = max(int(now), entry.used_at or 0)

    def keys(self) -> list[K]:
        """Return the keys that have a value."""
        return [key for key in list(self._entries) if self._live(key)]

    def sweep(self, now: float, *, ttl_seconds: float, max_entries: int) -> SweepResult:
        """Do what `BudgetedCache.sweep` says; an entry has expired if it was used *keep_seconds* before *now*."""
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
