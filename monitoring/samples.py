"""
What each process counted lately, put together in Redis: for the dashboard, which asks one process and shows them all.

After a request or a task, at most every PERFORMANCE_MONITORING_INTERVAL, a process adds what its metrics grew by since
it last did, and the memory that it holds. It costs the road nothing; what is lost with a process is at most that long.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, cast

import psutil
from celery.signals import task_postrun
from django.conf import settings
from django.core.signals import request_finished
from prometheus_client import REGISTRY
from redis import Redis, RedisError

from monitoring import clock, latency
from monitoring.health import TIMEOUT_SECONDS

log = logging.getLogger(__name__)

STREAM = "recsys:monitoring:samples"
OPERATION_METRIC = "recsys_operation"
"""The name under which the buckets of `performance.py` travel: they are no metric of Prometheus'."""
MAX_STORED_SAMPLES = 6_000
"""At most so many lie in Redis: of ten busy processes the last 100 minutes, a few MiB."""
MAX_LOADED_SAMPLES = 4_000
"""At most so many are read for one look."""
SAMPLED_COUNTERS = (
    "recsys_feed_seconds",
    "recsys_feeds",
    "recsys_feed_failures",
    "recsys_stage_seconds",
    "recsys_source_candidates",
    "recsys_filter_drops",
    "recsys_fallbacks",
    "recsys_cache_requests",
    "recsys_cache_removals",
    "recsys_job_items",
    "django_http_responses_total_by_status",
)
"""Families whose growth is sampled, without `_total`."""
SAMPLED_HISTOGRAMS = ("recsys_feed_seconds",)
"""Families whose buckets are sampled too, for percentiles."""
SAMPLED_GAUGES = (
    "recsys_cache_entries",
    "recsys_cache_bytes",
    "recsys_shared_cache_entries",
    "recsys_shared_cache_bytes",
    "recsys_breaker_state",
    "recsys_memory_bytes",
)
"""Gauges that are sampled as they stand."""

Labels = tuple[tuple[str, str], ...]
MetricKey = tuple[str, Labels]
"""A metric's sample: its name and its labels."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process did until *at* (Unix seconds), since its sample before."""

    process: str
    at: float
    rss_bytes: int
    increments: dict[MetricKey, float] = field(default_factory=dict)
    gauges: dict[MetricKey, float] = field(default_factory=dict)


class Sampler:
    """This process's own: what it told last, and when it may tell again."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._busy = threading.Lock()
        self._last_counts: dict[MetricKey, float] = {}

    def sample_if_due(self, kind: str) -> None:
        """Tell what grew, unless that was done a moment ago. Nothing that goes wrong here may harm who called."""
        if monotonic() < self._due_at or not self._busy.acquire(blocking=False):
            return
        try:
            self._due_at = monotonic() + settings.ENV.performance_monitoring_interval / 1000
            store_sample(self.take_sample(kind, clock.now().timestamp()))
        except RedisError as error:
            log.warning("sample_not_stored", extra={"problem": type(error).__name__})
        except Exception:
            log.exception("sample_failed")
        finally:
            self._busy.release()

    def take_sample(self, kind: str, at: float) -> Sample:
        """Return what grew since the last call."""
        for tell in _observers:
            tell()
        counts, held = read_metrics()
        grown = {name: value - self._last_counts.get(name, 0.0) for name, value in counts.items()}
        self._last_counts = counts
        process = f"{kind} {socket.gethostname()}:{os.getpid()}"
        rss = int(psutil.Process().memory_info().rss)
        return Sample(process, at, rss, {name: value for name, value in grown.items() if value > 0}, held)


def read_metrics() -> tuple[dict[MetricKey, float], dict[MetricKey, float]]:
    """Return this process's counters and gauges of the families above, as they stand."""
    counts: dict[MetricKey, float] = {}
    held: dict[MetricKey, float] = {}
    for family in REGISTRY.collect():
        if family.name in SAMPLED_GAUGES:
            held |= {metric_key(one): one.value for one in family.samples}
        elif family.name in SAMPLED_COUNTERS:
            for one in family.samples:
                is_bucket = one.name.endswith("_bucket")
                if not one.name.endswith("_created") and (not is_bucket or family.name in SAMPLED_HISTOGRAMS):
                    counts[metric_key(one)] = one.value
    for operation, bucket, count in latency.latency_recorder().iter_totals():
        counts[OPERATION_METRIC, (("bucket", str(bucket)), ("operation", operation))] = count
    return counts, held


def metric_key(sample: Any) -> MetricKey:
    """Return name and labels of a metric's sample, without the process's id that multiprocess mode adds."""
    return sample.name, tuple(sorted((key, value) for key, value in sample.labels.items() if key != "pid"))


_samplers: dict[int, Sampler] = {}
_observers: list[Callable[[], None]] = []


def register_observer(observe: Callable[[], None]) -> None:
    """Have *tell* set the gauges of what this process holds before each sample."""
    if observe not in _observers:
        _observers.append(observe)


def sampler() -> Sampler:
    """Return this process's sampler; a forked child has one of its own."""
    return _samplers.setdefault(os.getpid(), Sampler())


def after_request(**_: object) -> None:
    sampler().sample_if_due("web")


def after_task(task: Any = None, **_: object) -> None:
    """Tell as the worker whose child this is, such as batch of batch@host."""
    hostname = getattr(getattr(task, "request", None), "hostname", None) or "worker"
    sampler().sample_if_due(str(hostname).partition("@")[0])


def connect_signals() -> None:
    """Have this process sample itself after requests and tasks."""
    request_finished.connect(after_request, dispatch_uid="samples")
    task_postrun.connect(after_task, dispatch_uid="samples")


# In Redis


def cache_redis_client() -> Redis:
    """Return a client of the caches' Redis that gives up soon."""
    url = settings.ENV.cache_redis_url
    return Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)


def store_sample(sample: Sample) -> None:
    """Put a sample behind the others; the oldest go."""
    values = {
        "process": sample.process,
        "at": sample.at,
        "rss": sample.rss_bytes,
        "increments": [[name, labels, value] for (name, labels), value in sample.increments.items()],
        "gauges": [[name, labels, value] for (name, labels), value in sample.gauges.items()],
    }
    with cache_redis_client() as client:
        client.xadd(STREAM, {"sample": json.dumps(values)}, maxlen=MAX_STORED_SAMPLES, approximate=True)


def load_samples(now: datetime, lookback: timedelta) -> list[Sample]:
    """Return the samples of the time before *now*, oldest first; the newest `READ_SAMPLES` if there are more."""
    since = (now - lookback).timestamp()
    with cache_redis_client() as client:
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrevrange(STREAM, count=MAX_LOADED_SAMPLES))
    found = [decode_sample(fields[b"sample"]) for _, fields in rows]
    return sorted((one for one in found if one.at >= since), key=lambda one: one.at)


def decode_sample(packed: bytes) -> Sample:
    """Return a sample as it was added."""
    values = json.loads(packed)
    return Sample(
        values["process"], values["at"], values["rss"], decode_metrics(values["increments"]), decode_metrics(values["gauges"])
    )


def decode_metrics(rows: Sequence[Sequence[Any]]) -> dict[MetricKey, float]:
    return {(name, tuple((key, value) for key, value in labels)): number for name, labels, number in rows}


# Adding up


def sum_increments(samples: Sequence[Sample], name: str, *by: str) -> Counter[tuple[str, ...]]:
    """Return how much *name* grew in all, by the values of these labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for labels, value in iter_increments(samples, name):
        sums[tuple(labels.get(label, "") for label in by)] += value  # type: ignore[assignment]
    return sums


def iter_increments(samples: Sequence[Sample], name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Yield labels and growth of each sample of the metric *name*."""
    for sample in samples:
        for (found, labels), value in sample.increments.items():
            if found == name:
                yield dict(labels), value


def histogram_quantile(samples: Sequence[Sample], histogram: str, q: float) -> float | None:
    """
    Return about the *q* quantile of a histogram's growth, in its unit; None if nothing was counted.

    Within a bucket values are taken to lie evenly, as Prometheus's histogram_quantile does; above the last: its bound.
    """
    found = sum_increments(samples, f"{histogram}_bucket", "le")
    counts = sorted((float(le), count) for (le,), count in found.items())
    if not counts or not counts[-1][1]:
        return None
    wanted, low, below = q * counts[-1][1], 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((wanted - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low


def operation_latencies(samples: Sequence[Sample]) -> dict[str, latency.LatencySummary]:
    """Return what operations took in all processes together."""
    rows = iter_increments(samples, OPERATION_METRIC)
    parts = ((labels["operation"], Counter({int(labels["bucket"]): int(count)})) for labels, count in rows)
    return latency.summarize_operations(parts)


def memory_by_process(samples: Sequence[Sample]) -> dict[str, list[tuple[float, int]]]:
    """Return each process's memory over time: moments (Unix seconds) and bytes."""
    found: dict[str, list[tuple[float, int]]] = {}
    for sample in samples:
        found.setdefault(sample.process, []).append((sample.at, sample.rss_bytes))
    return found
