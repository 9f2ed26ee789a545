"""
Latency of operations: count, p50, p95 and p99 over the last minute, five minutes and hour.

Durations are counted in buckets of exponentially growing width, so that a percentile of any size is within 2 % of the
exact one, as in DDSketch (Masson, Rim and Lee, VLDB 2019, doi 10.14778/3352063.3352135). A bucket is an integer, so the
counts of several processes can be added. This module has the counts of this process; `samples.py` sends them to Redis,
which has those of all processes. PyPI's ddsketch is not used: it cannot be added up in Redis, nor drop old values.
"""

from __future__ import annotations

import math
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from time import monotonic

RELATIVE_ERROR = 0.02
"""Relative error of a percentile."""
GROWTH = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
MIN_SECONDS = 1e-6
"""Shorter durations are counted as this."""
PERIOD_SECONDS = 10.0
WINDOWS = {"1 min": timedelta(minutes=1), "5 min": timedelta(minutes=5), "1 h": timedelta(hours=1)}
OPERATIONS = ("feed", "recommendation_generation", "database_query", "task")

Buckets = Counter[int]


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Count and percentiles of an operation's durations within a window, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


def latency_bucket(seconds: float) -> int:
    """Return the bucket of a duration."""
    return math.ceil(math.log(max(seconds, MIN_SECONDS)) / GROWTH)


def bucket_seconds(bucket: int) -> float:
    """Return the representative duration of a bucket: within `RELATIVE_ERROR` of every duration in it."""
    return 2 * math.exp(bucket * GROWTH) / (1 + math.exp(GROWTH))


def quantile(buckets: Buckets, q: float) -> float:
    """Return the *q* quantile in seconds. *buckets* must not be empty."""
    rank, ordered = q * (buckets.total() - 1), sorted(buckets)
    counts = accumulate(buckets[bucket] for bucket in ordered)
    return bucket_seconds(next(bucket for bucket, count in zip(ordered, counts, strict=True) if count > rank))


def summarize_buckets(buckets: Buckets) -> LatencySummary | None:
    """Return the count and percentiles of *buckets*, or None if they are empty."""
    if not buckets:
        return None
    return LatencySummary(buckets.total(), *(quantile(buckets, q) for q in (0.5, 0.95, 0.99)))


class LatencyRecorder:
    """The durations of one process over one hour, in periods of `PERIOD_SECONDS`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._periods: deque[tuple[int, dict[str, Buckets]]] = deque()
        self._totals: dict[str, Buckets] = {operation: Counter() for operation in OPERATIONS}

    def observe(self, operation: str, seconds: float, moment: float) -> None:
        """Count one duration at *moment* (monotonic seconds)."""
        period, bucket = int(moment // PERIOD_SECONDS), latency_bucket(seconds)
        with self._lock:
            if not self._periods or self._periods[-1][0] != period:
                self._periods.append((period, {operation: Counter() for operation in OPERATIONS}))
                while self._periods[0][0] <= period - max(WINDOWS.values()).total_seconds() / PERIOD_SECONDS:
                    self._periods.popleft()
            self._periods[-1][1][operation][bucket] += 1
            self._totals[operation][bucket] += 1

    def summarize(self, window: timedelta, moment: float) -> dict[str, LatencySummary]:
        """Return the latency of each operation in the window before *moment*."""
        since = (moment - window.total_seconds()) // PERIOD_SECONDS
        with self._lock:
            periods = [counts for period, counts in self._periods if period > since]
            return summarize_operations(item for counts in periods for item in counts.items())

    def iter_totals(self) -> Iterator[tuple[str, int, int]]:
        """Yield operation, bucket and count of every duration since the process started."""
        with self._lock:
            rows = [
                (operation, bucket, count)
                for operation, buckets in self._totals.items()
                for bucket, count in buckets.items()
            ]
        yield from rows


def summarize_operations(parts: Iterable[tuple[str, Buckets]]) -> dict[str, LatencySummary]:
    """Return the latency of each operation. *parts* may contain an operation several times."""
    sums: dict[str, Buckets] = {}
    for operation, buckets in parts:
        sums.setdefault(operation, Counter()).update(buckets)
    return {operation: summary for operation, buckets in sums.items() if (summary := summarize_buckets(buckets))}


_recorders: dict[int, LatencyRecorder] = {}


def latency_recorder() -> LatencyRecorder:
    """Return the recorder of this process. A forked child gets a new one, whose lock no thread holds."""
    return _recorders.get(os.getpid()) or _recorders.setdefault(os.getpid(), LatencyRecorder())


def observe_operation(operation: str, seconds: float) -> None:
    """Count one duration of an operation (one of `OPERATIONS`) in this process."""
    latency_recorder().observe(operation, seconds, monotonic())


def process_latencies(window: timedelta) -> dict[str, LatencySummary]:
    """Return the latency of each operation in this process."""
    return latency_recorder().summarize(window, monotonic())
