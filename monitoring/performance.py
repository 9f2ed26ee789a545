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

ERROR = 0.02
"""Of a percentile, relative."""
GROWTH = math.log((1 + ERROR) / (1 - ERROR))
LEAST_SECONDS = 1e-6
"""Shorter ones count as this."""
PERIOD_SECONDS = 10.0
WINDOWS = {"1 min": timedelta(minutes=1), "5 min": timedelta(minutes=5), "1 h": timedelta(hours=1)}
OPERATIONS = ("feed", "recommendation_generation", "database_query", "task")

Buckets = Counter[int]


@dataclass(frozen=True, slots=True)
class Timing:
    """What an operation took within a window, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration."""
    return math.ceil(math.log(max(seconds, LEAST_SECONDS)) / GROWTH)


def seconds_of(bucket: int) -> float:
    """Return the duration that stands for a bucket: no other of it is further than `ERROR` away."""
    return 2 * math.exp(bucket * GROWTH) / (1 + math.exp(GROWTH))


def quantile(buckets: Buckets, q: float) -> float:
    """Return the *q* quantile in seconds. There must be a count."""
    wanted, below = q * (buckets.total() - 1), 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below > wanted:
            return seconds_of(bucket)
    return seconds_of(max(buckets))


def timing_of(buckets: Buckets) -> Timing | None:
    """Return what *buckets* say; None of nothing."""
    if not buckets:
        return None
    return Timing(buckets.total(), *(quantile(buckets, q) for q in (0.5, 0.95, 0.99)))


class Timings:
    """One process's durations of one hour, in periods. Safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._periods: deque[tuple[int, dict[str, Buckets]]] = deque()
        self._ever: dict[str, Buckets] = {operation: Counter() for operation in OPERATIONS}

    def observe(self, operation: str, seconds: float, moment: float) -> None:
        """Count one duration at *moment* (seconds of a steady clock)."""
        period, bucket = int(moment // PERIOD_SECONDS), bucket_of(seconds)
        with self._lock:
            if not self._periods or self._periods[-1][0] != period:
                self._periods.append((period, {operation: Counter() for operation in OPERATIONS}))
                while self._periods[0][0] <= period - max(WINDOWS.values()).total_seconds() / PERIOD_SECONDS:
                    self._periods.popleft()
            self._periods[-1][1][operation][bucket] += 1
            self._ever[operation][bucket] += 1

    def within(self, window: timedelta, moment: float) -> dict[str, Timing]:
        """Return what each operation took in the time before *moment*."""
        since = (moment - window.total_seconds()) // PERIOD_SECONDS
        with self._lock:
            periods = [counts for period, counts in self._periods if period > since]
            return timings_of(((operation, one) for counts in periods for operation, one in counts.items()))

    def ever(self) -> Iterator[tuple[str, int, int]]:
        """Yield operation, bucket and count of all that was ever counted."""
        with self._lock:
            rows = [(name, bucket, count) for name, one in self._ever.items() for bucket, count in one.items()]
        yield from rows


def timings_of(parts: Iterable[tuple[str, Buckets]]) -> dict[str, Timing]:
    """Return what operations took, of counts that may name one several times."""
    sums: dict[str, Buckets] = {}
    for operation, buckets in parts:
        sums.setdefault(operation, Counter()).update(buckets)
    return {operation: timing for operation, one in sums.items() if (timing := timing_of(one))}


_timings: dict[int, Timings] = {}


def timings() -> Timings:
    """Return this process's own; a forked child begins anew, with a lock that nobody holds."""
    return _timings.get(os.getpid()) or _timings.setdefault(os.getpid(), Timings())


def observe(operation: str, seconds: float) -> None:
    """Count how long an operation (one of `OPERATIONS`) took in this process."""
    timings().observe(operation, seconds, monotonic())


def own(window: timedelta) -> dict[str, Timing]:
    """Return what operations took in this process."""
    return timings().within(window, monotonic())
