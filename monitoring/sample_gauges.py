"""
Gauges computed from the recent samples of all processes, for alert rules.

A gauge without samples has no value, and neither opens nor resolves an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitoring import gauges, metrics, samples, system_memory
from monitoring.gauges import GaugeValues
from monitoring.metrics import ComputedGauge
from monitoring.samples import Sample

HEAP_SIZE = ("recsys_memory_bytes", (("kind", "heap"),))
"""The heap of a process when it was sampled, in bytes."""
WINDOW = timedelta(minutes=5)
HOUR = timedelta(hours=1)
MIN_FEEDS = 20
"""Minimum number of feeds in the window to compute a ratio."""
MIN_BAD_FEEDS = 3
"""Minimum number of failed or slow feeds in the window: fewer are no rate, and count as 0."""
MIN_LOOKUPS = 300
"""Minimum number of look-ups in the window to compute a hit rate, one per second. A cold cache that few use is fine."""
SLO_TARGET = 0.999
"""Target share of feeds, over 30 days, that are served within `FAST_FEED_BUCKET` seconds."""
FAST_FEED_BUCKET = "0.5"
"""The bucket of recsys_feed_seconds that a fast feed falls into, in seconds, as in its label `le`."""


def compute_sample_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return the gauges of the samples of the last five minutes, and the SLO burn rate of the last hour too."""
    last_hour = samples.load_samples(now, HOUR)
    since = (now - WINDOW).timestamp()
    recent = [sample for sample in last_hour if sample.at >= since]
    latencies = samples.operation_latencies(recent)
    return {
        metrics.OPERATION_SECONDS: {
            (operation, quantile): getattr(summary, quantile)
            for operation, summary in latencies.items()
            for quantile in ("p50", "p95", "p99")
        },
        metrics.HEAP_BYTES: unlabeled_values(
            max((size for sample in recent if (size := sample.gauges.get(HEAP_SIZE)) is not None), default=None)
        ),
        metrics.MEMORY_USAGE_RATIO: unlabeled_values(system_memory.memory_usage_share()),
        metrics.CACHE_HIT_RATIO: hit_ratios(recent),
        metrics.ERROR_RATIO: unlabeled_values(error_ratio(recent)),
        metrics.SLO_BURN_RATE: {
            (window,): rate
            for window, in_window in (("5m", recent), ("1h", last_hour))
            if (rate := burn_rate(in_window)) is not None
        },
    }


def unlabeled_values(value: float | None) -> GaugeValues:
    return {} if value is None else {(): value}


def hit_ratios(window: Sequence[Sample]) -> GaugeValues:
    """Return the hit rate of each cache, and of all caches together as "all"."""
    counts = samples.sum_increments(window, "recsys_cache_requests_total", "cache", "outcome")
    requests: dict[str, float] = {}
    hits: dict[str, float] = {}
    for (cache, outcome), count in counts.items():
        requests[cache] = requests.get(cache, 0.0) + count
        hits[cache] = hits.get(cache, 0.0) + count * (outcome != "miss")
    requests["all"], hits["all"] = sum(requests.values()), sum(hits.values())
    return {(cache,): hits[cache] / count for cache, count in requests.items() if count >= MIN_LOOKUPS}


def count_failures(window: Sequence[Sample]) -> tuple[float, float]:
    """Return how many feeds failed, and how many were requested."""
    failed = sum(samples.sum_increments(window, "recsys_feed_failures_total").values())
    return failed, failed + sum(samples.sum_increments(window, "recsys_feeds_total").values())


def error_ratio(window: Sequence[Sample]) -> float | None:
    """Return the share of feeds that failed, or None for fewer than `MIN_FEEDS` feeds."""
    failed, requested = count_failures(window)
    return bad_share(failed, requested) if requested >= MIN_FEEDS else None


def bad_share(bad: float, requested: float) -> float:
    """Return the share of bad feeds, 0 for fewer than `MIN_BAD_FEEDS`."""
    return bad / requested if bad >= MIN_BAD_FEEDS else 0.0


def burn_rate(window: Sequence[Sample]) -> float | None:
    """Return the share of failed or slow feeds divided by the allowed share, or None for fewer than `MIN_FEEDS`."""
    failed, requested = count_failures(window)
    if requested < MIN_FEEDS:
        return None
    served = sum(samples.sum_increments(window, "recsys_feed_seconds_count").values())
    fast = samples.sum_increments(window, "recsys_feed_seconds_bucket", "le")[FAST_FEED_BUCKET,]
    return bad_share(failed + served - fast, requested) / (1 - SLO_TARGET)


def register() -> None:
    """Register these gauges."""
    gauges.register_gauges(
        metrics.OPERATION_SECONDS,
        metrics.HEAP_BYTES,
        metrics.MEMORY_USAGE_RATIO,
        metrics.CACHE_HIT_RATIO,
        metrics.ERROR_RATIO,
        metrics.SLO_BURN_RATE,
        compute=compute_sample_gauges,
    )
