"""
Recent metrics of all processes, collected in Redis, so that any one process can show the dashboard of all.

After a request or a task, at most once per PERFORMANCE_MONITORING_INTERVAL, a process adds a sample: the increments of
its metrics since its last sample, and its memory. A request does not wait for it. A process that dies loses at most
one interval.
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
from monitoring.redis_clients import redis_client

log = logging.getLogger(__name__)

STREAM = "recsys:monitoring:samples"
OPERATION_METRIC = "recsys_operation"
"""The name of the latency buckets of `latency.py` in a sample. They are not a Prometheus metric."""
MAX_STORED_SAMPLES = 6_000
"""Maximum number of samples in Redis: the last 100 minutes of ten busy processes, a few MiB."""
MAX_LOADED_SAMPLES = 4_000
"""Maximum number of samples that are loaded."""
SAMPLES_PER_CALL = 200
"""Samples that one call of Redis returns. Changes the speed and the memory."""
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
"""Metric families whose increments are sampled, without `_total`."""
SAMPLED_HISTOGRAMS = ("recsys_feed_seconds",)
"""Metric families whose buckets are sampled as well, for percentiles."""
SAMPLED_GAUGES = (
    "recsys_cache_entries",
    "recsys_cache_bytes",
    "recsys_shared_cache_entries",
    "recsys_shared_cache_bytes",
    "recsys_breaker_state",
    "recsys_memory_bytes",
)
"""Gauges whose current values are sampled."""

Labels = tuple[tuple[str, str], ...]
MetricKey = tuple[str, Labels]
"""Name and labels of a metric."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The increments of one process between its previous sample and *at* (Unix seconds), with its gauges and memory."""

    process: str
    at: float
    rss_bytes: int
    increments: dict[MetricKey, float] = field(default_factory=dict)
    gauges: dict[MetricKey, float] = field(default_factory=dict)


class Sampler:
    """Takes the samples of this process: has the counts and the time of the last sample."""

    def __init__(self) -> None:
        self._tried_at = float("-inf")
        self._busy = threading.Lock()
        self._last_counts: dict[MetricKey, float] = {}

    def sample_if_due(self, kind: str) -> None:
        """
        Store a sample if one is due. Errors are logged, so that they never affect the request or task.

        The next sample includes the increments of one that Redis did not store.
        """
        interval = settings.ENV.performance_monitoring_interval / 1000
        if monotonic() - self._tried_at < interval or not self._busy.acquire(blocking=False):
            return
        stored_counts = self._last_counts
        try:
            self._tried_at = monotonic()
            store_sample(self.take_sample(kind, clock.now().timestamp()))
        except RedisError as error:
            self._last_counts = stored_counts
            log.warning("sample_not_stored", extra={"problem": type(error).__name__})
        except Exception:
            log.exception("sample_failed")
        finally:
            self._busy.release()

    def take_sample(self, kind: str, at: float) -> Sample:
        """Return the sample since the last call."""
        for observe in _observers:
            observe()
        counts, gauges = read_metrics()
        growth = {key: value - self._last_counts.get(key, 0.0) for key, value in counts.items()}
        self._last_counts = counts
        process = f"{kind} {socket.gethostname()}:{os.getpid()}"
        rss = int(psutil.Process().memory_info().rss)
        return Sample(process, at, rss, {key: value for key, value in growth.items() if value > 0}, gauges)


def read_metrics() -> tuple[dict[MetricKey, float], dict[MetricKey, float]]:
    """Return the current values of the sampled counters and of the sampled gauges of this process."""
    counts: dict[MetricKey, float] = {}
    gauges: dict[MetricKey, float] = {}
    for family in REGISTRY.collect():
        if family.name in SAMPLED_GAUGES:
            gauges |= {metric_key(sample): sample.value for sample in family.samples}
        elif family.name in SAMPLED_COUNTERS:
            for sample in family.samples:
                is_bucket = sample.name.endswith("_bucket")
                if not sample.name.endswith("_created") and (not is_bucket or family.name in SAMPLED_HISTOGRAMS):
                    counts[metric_key(sample)] = sample.value
    for operation, bucket, count in latency.latency_recorder().iter_totals():
        counts[OPERATION_METRIC, (("bucket", str(bucket)), ("operation", operation))] = count
    return counts, gauges


def metric_key(sample: Any) -> MetricKey:
    """Return name and labels of a Prometheus sample, without the label `pid` that multiprocess mode adds."""
    return sample.name, tuple(sorted((key, value) for key, value in sample.labels.items() if key != "pid"))


_samplers: dict[int, Sampler] = {}
_observers: list[Callable[[], None]] = []


def register_observer(observe: Callable[[], None]) -> None:
    """Call *observe* before each sample, to set the gauges of this process."""
    _observers.append(observe)


def sampler() -> Sampler:
    """Return the sampler of this process. A forked child has its own."""
    return _samplers.setdefault(os.getpid(), Sampler())


def after_request(**_: object) -> None:
    sampler().sample_if_due("web")


def after_task(task: Any = None, **_: object) -> None:
    """Store a sample under the name of this child's worker, such as batch for batch@host."""
    hostname = getattr(getattr(task, "request", None), "hostname", None) or "worker"
    sampler().sample_if_due(str(hostname).partition("@")[0])


def connect_signals() -> None:
    """Sample this process after requests and tasks."""
    request_finished.connect(after_request, dispatch_uid="samples")
    task_postrun.connect(after_task, dispatch_uid="samples")


# In Redis


def cache_redis_client() -> Redis:
    """Return a client of the caches' Redis."""
    return redis_client(settings.ENV.cache_redis_url)


def store_sample(sample: Sample) -> None:
    """Append a sample. The oldest samples beyond `MAX_STORED_SAMPLES` are removed."""
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
    """
    Return the samples within *lookback* before *now*, oldest first; at most the newest `MAX_LOADED_SAMPLES`.

    An hour of samples repeats the names and labels of some hundred metrics a thousand times, so equal ones are held
    once: a tenth of the memory.
    """
    since = (now - lookback).timestamp()
    keys: dict[MetricKey, MetricKey] = {}
    samples: list[Sample] = []
    with cache_redis_client() as client:
        for page in iter_packed_samples(client):
            decoded = [decode_sample(packed, keys) for packed in page]
            recent = [sample for sample in decoded if sample.at >= since]
            samples += recent
            if not recent:  # one process may have a wrong clock, so an old sample alone is not the end
                break
    return sorted(samples, key=lambda sample: sample.at)


def iter_packed_samples(client: Redis) -> Iterator[list[bytes]]:
    """Yield what `store_sample` encoded, from the last stored to the first, `SAMPLES_PER_CALL` at once."""
    newest = "+"
    for _ in range(MAX_LOADED_SAMPLES // SAMPLES_PER_CALL):
        page = client.xrevrange(STREAM, max=newest, count=SAMPLES_PER_CALL)
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", page)
        yield [fields[b"sample"] for _, fields in rows]
        if len(rows) < SAMPLES_PER_CALL:
            return
        newest = f"({rows[-1][0].decode()}"


def decode_sample(packed: bytes, keys: dict[MetricKey, MetricKey]) -> Sample:
    """Return the sample that `store_sample` encoded, with metric keys from *keys*, to which new ones are added."""
    values = json.loads(packed)
    increments, gauges = (decode_metrics(values[name], keys) for name in ("increments", "gauges"))
    return Sample(values["process"], values["at"], values["rss"], increments, gauges)


def decode_metrics(rows: Sequence[Sequence[Any]], keys: dict[MetricKey, MetricKey]) -> dict[MetricKey, float]:
    decoded = (((name, tuple((label, text) for label, text in labels)), value) for name, labels, value in rows)
    return {keys.setdefault(key, key): value for key, value in decoded}


# Aggregation


def sum_increments(samples: Sequence[Sample], name: str, *by: str) -> Counter[tuple[str, ...]]:
    """Return the sum of the increments of the metric *name*, by the values of the labels *by*."""
    sums: Counter[tuple[str, ...]] = Counter()
    for labels, value in iter_increments(samples, name):
        sums[tuple(labels.get(label, "") for label in by)] += value  # type: ignore[assignment]
    return sums


def iter_increments(samples: Sequence[Sample], name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Yield labels and increment of the metric *name* in each sample."""
    for sample in samples:
        for (metric, labels), value in sample.increments.items():
            if metric == name:
                yield dict(labels), value


def histogram_quantile(samples: Sequence[Sample], histogram: str, q: float) -> float | None:
    """
    Return the approximate *q* quantile of a histogram's increments, in its unit; None if it has none.

    Interpolates linearly within a bucket, as Prometheus' histogram_quantile does. A quantile above the last finite
    bucket is that bucket's bound.
    """
    buckets = sum_increments(samples, f"{histogram}_bucket", "le")
    counts = sorted((float(le), count) for (le,), count in buckets.items())
    if not counts or not counts[-1][1]:
        return None
    rank = q * counts[-1][1]
    position = next(position for position, (_, count) in enumerate(counts) if count >= rank)
    low, below = counts[position - 1] if position else (0.0, 0.0)
    bound, count = counts[position]
    if bound == float("inf"):
        return low
    return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)


def operation_latencies(samples: Sequence[Sample]) -> dict[str, latency.LatencySummary]:
    """Return the latency of each operation over all processes."""
    rows = iter_increments(samples, OPERATION_METRIC)
    parts = ((labels["operation"], Counter({int(labels["bucket"]): int(count)})) for labels, count in rows)
    return latency.summarize_operations(parts)


def memory_by_process(samples: Sequence[Sample]) -> dict[str, list[tuple[float, int]]]:
    """Return the resident memory of each process over time: pairs of Unix seconds and bytes."""
    memory: dict[str, list[tuple[float, int]]] = {}
    for sample in samples:
        memory.setdefault(sample.process, []).append((sample.at, sample.rss_bytes))
    return memory
