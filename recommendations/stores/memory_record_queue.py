"""The in-memory twin of `RedisRecordQueue`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

from recommendations.contracts import RecordBatch
from recommendations.stores.memory_entries import MemoryEntries
from recommendations.stores.redis_record_queue import ASIDE_KEPT_SECONDS, ASIDE_SECONDS, LEASE_SECONDS, MAX_WAITING


class MemoryRecordQueue:
    """Implements `RecordQueue` in this process."""

    def __init__(self, *, clock: Callable[[], float], limit: int = MAX_WAITING) -> None:
        """*limit*: how many records may wait; beyond it the oldest are dropped."""
        self._waiting: deque[bytes] = deque(maxlen=limit)
        self._batches: dict[str, list[bytes]] = {}
        self._leases = MemoryEntries[str, bool](clock)
        self._aside: deque[bytes] = deque(maxlen=limit)
        self._marks = MemoryEntries[str, bool](clock)
        self._numbers = count(1)

    def push(self, *records: bytes) -> int:
        """See `RecordQueue.push`."""
        self._waiting.extend(records)
        return len(self._waiting)

    def take(self, count: int) -> RecordBatch | None:
        """See `RecordQueue.take`."""
        batch_id = next((id for id in self._batches if self._leases.get(id) is None), None)
        if batch_id is None:
            self._retry_aside()
            if not self._waiting:
                return None
            batch_id = str(next(self._numbers))
            self._batches[batch_id] = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        self._leases.put(batch_id, True, seconds=LEASE_SECONDS)
        return RecordBatch(batch_id, list(self._batches[batch_id]))

    def acknowledge(self, batch_id: str) -> None:
        """See `RecordQueue.acknowledge`."""
        self._batches.pop(batch_id, None)
        self._leases.remove(batch_id)

    def set_aside(self, *records: bytes) -> None:
        """See `RecordQueue.set_aside`."""
        self._aside.extend(records)
        for mark, seconds in (("retried", ASIDE_SECONDS), ("kept", ASIDE_KEPT_SECONDS)):
            if self._marks.get(mark) is None:
                self._marks.put(mark, True, seconds=seconds)

    def _retry_aside(self) -> None:
        """Let records that were set aside wait again if no others wait, or delete them if they are too old."""
        if self._waiting or not self._aside or self._marks.get("retried"):
            return
        if self._marks.get("kept"):
            self._waiting.extend(self._aside)
            self._marks.put("retried", True, seconds=ASIDE_SECONDS)
        self._aside.clear()
