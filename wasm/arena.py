"""
Cached vectors in linear memory, kept by contract: at most so many vectors, at most so many bytes.

Linear memory never shrinks. What falls is the number of live rows; when the memory around them has grown
too large the arena moves them into a fresh instance and closes the old one (`recycle`). Each process keeps
its own budget.
"""

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from wasm import checks
from wasm.errors import KernelMemoryError, VectorError
from wasm.kernel import DEFAULT_MEMORY_LIMIT_BYTES
from wasm.shard import Int32Array, Int64Array
from wasm.space import Space
from wasm.vectors import Float32Array

DEFAULT_CAPACITY = 10_000
CLEAN_UP_BYTES = 500 << 20
EMERGENCY_SHARE = 0.9
"""Of the memory limit: beyond it half of the vectors go."""
MOVE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """What an arena holds and has done, for monitoring."""

    vectors: int
    capacity: int
    pinned: int
    used_bytes: int  # rows that are live
    resident_bytes: int  # linear memory, which only a recycle makes smaller
    memory_limit_bytes: int
    hits: int
    misses: int
    evictions: int  # by the limits
    expirations: int  # by age
    recycles: int

    @property
    def hit_rate(self) -> float:
        """Share of lookups that found a vector; 0 before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """Rows that stay where they are while the lease is held. Ask *space*, not the arena, to score them."""

    space: Space
    rows: Int32Array  # (n,) -1 where the key is not cached


@dataclass(slots=True)
class _Slot:
    row: int
    expires_at: float
    pins: int = 0


class Arena:
    """
    A least-recently-used cache of vectors by key, resident in a sandbox and ready to be scored.

    Safe to share between threads. A put that finds every vector pinned raises `KernelMemoryError`.
    """

    def __init__(
        self,
        dimension: int,
        *,
        capacity: int = DEFAULT_CAPACITY,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        clean_up_bytes: int = CLEAN_UP_BYTES,
        ttl_seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most *capacity* vectors for *ttl_seconds* each; clean up beyond *clean_up_bytes*."""
        self.capacity = checks.positive("capacity", capacity)
        self._dimension = checks.dimension(dimension)
        self._memory_limit_bytes = memory_limit_bytes
        self._clean_up_bytes = clean_up_bytes
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._hits = self._misses = self._evictions = self._expirations = self._recycles = 0
        self._space = self._new_space()
        self._slots: OrderedDict[int, _Slot] = OrderedDict()  # least recently used first
        self._free: list[int] = []  # a heap: low rows first, so that few segments are touched
        self._next_row = 0

    def _new_space(self) -> Space:
        return Space(self._dimension, memory_limit_bytes=self._memory_limit_bytes)

    def put(self, keys: Int64Array, vectors: Float32Array) -> None:
        """Cache *vectors* (n, d) under *keys* (n,), replacing what was there; the least recent make room."""
        keys = checks.array("keys", keys, np.int64, (None,))
        vectors = checks.array("vectors", vectors, np.float32, (len(keys), self._dimension))
        if len(keys) > self.capacity:
            raise VectorError(f"keys has {len(keys)} entries and the arena {self.capacity}; use fewer at a time")
        with self._lock:
            self._tidy()
            try:
                self._write(keys, vectors)
            except KernelMemoryError:
                self.clean_up_in_emergency()
                self._write(keys, vectors)

    @contextmanager
    def lease(self, keys: Int64Array) -> Iterator[Lease]:
        """Find *keys* (n,) and pin what is found until the block ends: no row of it is evicted or moved."""
        keys = checks.array("keys", keys, np.int64, (None,))
        with self._lock:
            found = [self._find(key) for key in keys.tolist()]
            pinned = [slot for slot in found if slot is not None]
            for slot in pinned:
                slot.pins += 1
            rows = np.array([-1 if slot is None else slot.row for slot in found], np.int32)
            lease = Lease(self._space, rows)
        try:
            yield lease
        finally:
            with self._lock:
                for slot in pinned:
                    slot.pins -= 1

    def drop(self, keys: Int64Array) -> None:
        """Forget *keys* (n,), except those that are pinned."""
        keys = checks.array("keys", keys, np.int64, (None,))
        with self._lock:
            self._forget([key for key in set(keys.tolist()) & self._slots.keys() if not self._slots[key].pins])

    def clean_up(self) -> None:
        """Drop what has expired, evict to three quarters of the threshold, and recycle if that helps."""
        with self._lock:
            self._expirations += self._forget(self._expired())
            row_bytes = self._space.row_bytes
            self._evict(len(self._slots) - self._clean_up_bytes * 3 // 4 // row_bytes)
            if self._space.statistics().memory_bytes > 2 * len(self._slots) * row_bytes:
                self.recycle()

    def clean_up_in_emergency(self) -> None:
        """Drop what has expired and the less recent half of the rest, and recycle."""
        with self._lock:
            self._expirations += self._forget(self._expired())
            self._evict(-(-len(self._slots) // 2))
            self.recycle()

    def recycle(self) -> bool:
        """Move the live rows into a fresh instance, close the old one; False while a row is pinned."""
        with self._lock:
            if any(slot.pins for slot in self._slots.values()):
                return False
            fresh, old = self._new_space(), self._space
            keys = np.fromiter(self._slots, np.int64, len(self._slots))
            rows = np.fromiter((slot.row for slot in self._slots.values()), np.int32, len(keys))
            for at in range(0, len(keys), MOVE_ROWS):
                moved = np.arange(at, min(at + MOVE_ROWS, len(keys)), dtype=np.int32)
                fresh.put(moved, keys[moved], old.vectors(rows[moved]))
            for row, slot in enumerate(self._slots.values()):
                slot.row = row
            self._space, self._free, self._next_row = fresh, [], len(keys)
            old.close()
            self._recycles += 1
            return True

    def statistics(self) -> ArenaStatistics:
        """Return a snapshot for monitoring."""
        with self._lock:
            memory = self._space.statistics()
            return ArenaStatistics(
                vectors=len(self._slots),
                capacity=self.capacity,
                pinned=sum(slot.pins > 0 for slot in self._slots.values()),
                used_bytes=len(self._slots) * self._space.row_bytes,
                resident_bytes=memory.memory_bytes,
                memory_limit_bytes=memory.memory_limit_bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                expirations=self._expirations,
                recycles=self._recycles,
            )

    def _tidy(self) -> None:
        memory = self._space.statistics()
        if memory.memory_bytes >= EMERGENCY_SHARE * memory.memory_limit_bytes:
            self.clean_up_in_emergency()
        elif memory.memory_bytes >= self._clean_up_bytes:
            self.clean_up()

    def _find(self, key: int) -> _Slot | None:
        slot = self._slots.get(key)
        if slot is not None and slot.expires_at <= self._clock() and not slot.pins:
            self._expirations += self._forget([key])
            slot = None
        if slot is None:
            self._misses += 1
            return None
        self._hits += 1
        self._slots.move_to_end(key)
        return slot

    def _write(self, keys: Int64Array, vectors: Float32Array) -> None:
        """Write a cached key where it lies, so that a lease sees the new vector; others get a free row."""
        listed = keys.tolist()
        wanted = set(listed)
        self._evict(len(wanted | self._slots.keys()) - self.capacity, spare=wanted)
        new = [key for key in dict.fromkeys(listed) if key not in self._slots]
        if len(self._slots) + len(new) > self.capacity:
            raise KernelMemoryError(f"no room for {len(new)} vectors: the others of {self.capacity} are pinned")
        for key in new:
            self._slots[key] = _Slot(self._free_row(), 0.0)
        try:
            self._space.put(np.array([self._slots[key].row for key in listed], np.int32), keys, vectors)
        except KernelMemoryError:
            self._forget(new)
            raise
        expires_at = self._clock() + self._ttl_seconds
        for key in listed:
            self._slots[key].expires_at = expires_at
            self._slots.move_to_end(key)

    def _free_row(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._next_row += 1
        return self._next_row - 1

    def _expired(self) -> list[int]:
        now = self._clock()
        return [key for key, slot in self._slots.items() if slot.expires_at <= now and not slot.pins]

    def _evict(self, count: int, spare: AbstractSet[int] = frozenset()) -> None:
        """Forget *count* vectors, the least recently used first, as far as they are not pinned."""
        free = (key for key, slot in self._slots.items() if not slot.pins and key not in spare)
        self._evictions += self._forget(list(islice(free, max(0, count))))

    def _forget(self, keys: list[int]) -> int:
        rows = [self._slots.pop(key).row for key in keys]
        resident = [row for row in rows if row < len(self._space)]
        if resident:
            self._space.drop(np.array(resident, np.int32))
        for row in rows:
            heapq.heappush(self._free, row)
        return len(rows)
