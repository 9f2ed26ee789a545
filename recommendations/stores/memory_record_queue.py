"""The in-memory twin of `RedisRecordQueue`, for tests. The same tests in `tests/spec/` run on both."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count

from recommendations.stores.redis_record_queue import MAX_WAITING


class MemoryRecordQueue:
    """Implements `RecordQueue` in this process. A receipt is a number, as bytes."""

    def __init__(self, *, limit: int = MAX_WAITING) -> None:
        """*limit*: how many records may wait; beyond it the oldest are dropped."""
        self._waiting: deque[bytes] = deque(maxlen=limit)
        self._taken: dict[bytes, bytes] = {}
        self._numbers = count(1)

    def push(self, *records: bytes) -> int:
        """See `RecordQueue.push`."""
        self._waiting.extend(records)
        return len(self._waiting)

    def take(self, count: int) -> dict[bytes, bytes]:
        """See `RecordQueue.take`."""
        for _ in range(min(count, len(self._waiting))):
            self._taken[str(next(self._numbers)).encode()] = self._waiting.popleft()
        return dict(self._taken)

    def acknowledge(self, receipts: Iterable[bytes]) -> None:
        """See `RecordQueue.acknowledge`."""
        for receipt in receipts:
            self._taken.pop(receipt, None)
