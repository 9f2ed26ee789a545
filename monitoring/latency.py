"""
How long operations take: count, p50, p95 and p99 over the last minute, five minutes and hour.

Durations fall into buckets that grow by a factor, so that a percentile is within 2 % of the true one whatever its size,
as in DDSketch (Masson, Rim and Lee, VLDB 2019, doi 10.14778/3352063.3352135); a bucket is a whole number, so
processes are added up by adding counts. This process's own are kept here; `samples.py` carries them to Redis, where
every process's meet. Of our own, since PyPI's ddsketch can neither be added up in Redis nor forget what is old.
"""

from __future__ import annotations

import math
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

RELATIVE_ERROR = 0.02
"""Of a percentile, relative."""
GROWTH = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
MIN_SECONDS = 1e-6
"""Shorter ones count as this."""
PERIOD_SECONDS = 10.0
WINDOWS = {"1 min": timedelta(minutes=1), "5 min": timedelta(minutes=5), "1 h": timedelta(hours=1)}
OPERATIONS = ("feed", "recommendation_generation", "database_query", "task")

Buckets = Counter[int]


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What an operation took within a window, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


def latency_bucket(seconds: float) -> int:
    """Return the bucket of a duration."""
    return math.ceil(math.log(max(seconds, MIN_SECONDS)) / GROWTH)


def bucket_seconds(bucket: int) -> float:
    """Return the duration that stands for a bucket: no other of it is further than `ERROR` away."""
    return 2 * math.exp(bucket * GROWTH) / (1 + math.exp(GROWTH))


def quantile(buckets: Buckets, q: float) -> float:
    """Return the *q* quantile in seconds. There must be a count."""
    wanted, below = q * (buckets.total() - 1), 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below > wanted:
            return bucket_seconds(bucket)
    return bucket_seconds(max(buckets))


def summarize_buckets(buckets: Buckets) -> LatencySummary | None:
    """Return what *buckets* say; None of nothing."""
    if not buckets:
        return None
    return LatencySummary(buckets.total(), *(quantile(buckets, q) for q in (0.5, 0.95, 0.99)))


class LatencyRecorder:
    """One process's durations of one hour, in periods. Safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._periods: deque[tuple[int, dict[str, Buckets]]] = deque()
        self._totals: dict[str, Buckets] = {operation: Counter() for operation in OPERATIONS}

    def observe(self, operation: str, seconds: float, moment: float) -> None:
        """Count one duration at *moment* (seconds of a steady clock)."""
        period, bucket = int(moment // PERIOD_SECONDS), latency_bucket(seconds)
        with self._lock:
            if not self._periods or self._periods[-1][0] != period:
                self._periods.append((period, {operation: Counter() for operation in OPERATIONS}))
                while self._periods[0][0] <= period - max(WINDOWS.values()).total_seconds() / PERIOD_SECONDS:
                    self._periods.popleft()
            self._periods[-1][1][operation][bucket] += 1
            self._totals[operation][bucket] += 1

    def summarize(self, window: timedelta, moment: float) -> dict[str, LatencySummary]:
        """Return what each operation took in the time before *moment*."""
        since = (moment - window.total_seconds()) // PERIOD_SECONDS
        with self._lock:
            periods = [counts for period, counts in self._periods if period > since]
            return summarize_operations(((operation, one) for counts in periods for operation, one in counts.items()))

    def iter_totals(self) -> Iterator[tuple[str, int, int]]:
        """Yield operation, bucket and count of all that was ever counted."""
        with self._lock:
            rows = [(name, bucket, count) for name, one in self._totals.items() for bucket, count in one.items()]
        yield from rows


def summarize_operations(parts: Iterable[tuple[str, Buckets]]) -> dict[str, LatencySummary]:
    """Return what operations took, of counts that may name one several times."""
    sums: dict[str, Buckets] = {}
    for operation, buckets in parts:
        sums.setdefault(operation, Counter()).update(buckets)
    return {operation: timing for operation, one in sums.items() if (timing := summarize_buckets(one))}


_recorders: dict[int, LatencyRecorder] = {}


def latency_recorder() -> LatencyRecorder:
    """Return this process's own; a forked child begins anew, with a lock that nobody holds."""
    return _recorders.get(os.getpid()) or _recorders.setdefault(os.getpid(), LatencyRecorder())


def observe_operation(operation: str, seconds: float) -> None:
    """Count how long an operation (one of `OPERATIONS`) took in this process."""
    latency_recorder().observe(operation, seconds, monotonic())


def process_latencies(window: timedelta) -> dict[str, LatencySummary]:
    """Return what operations took in this process."""
    return latency_recorder().summarize(window, monotonic())
