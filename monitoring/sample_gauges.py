"""
The readings of what processes counted lately, put together over all of them: what the rules of alerts watch.

A reading without samples says nothing, and neither opens nor closes an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitoring import gauges, metrics, samples, system_memory
from monitoring.gauges import GaugeValues
from monitoring.metrics import ComputedGauge
from monitoring.samples import Sample

WINDOW = timedelta(minutes=5)
HOUR = timedelta(hours=1)
MIN_FEEDS = 20
"""With fewer in the window a share of them says nothing."""
SLO_TARGET = 0.999
"""Share of feeds, over 30 days, that shall be served within `GOOD_SECONDS`."""
FAST_FEED_BUCKET = "0.5"
"""As the bucket of recsys_feed_seconds is called."""


def compute_sample_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return what the samples of the last five minutes say; and of the last hour, how fast the error budget goes."""
    hour = samples.load_samples(now, HOUR)
    since = (now - WINDOW).timestamp()
    found = [one for one in hour if one.at >= since]
    took = samples.operation_latencies(found)
    return {
        metrics.OPERATION_SECONDS: {
            (operation, name): getattr(timing, name)
            for operation, timing in took.items()
            for name in ("p50", "p95", "p99")
        },
        metrics.HEAP_BYTES: unlabeled_values(max((sampled_memory_bytes(one, "heap") for one in found), default=None)),
        metrics.MEMORY_USAGE_RATIO: unlabeled_values(system_memory.memory_usage_share()),
        metrics.CACHE_HIT_RATIO: hit_ratios(found),
        metrics.ERROR_RATIO: unlabeled_values(error_ratio(found)),
        metrics.SLO_BURN_RATE: {
            (window,): burnt for window, part in (("5m", found), ("1h", hour)) if (burnt := burn_rate(part)) is not None
        },
    }


def unlabeled_values(value: float | None) -> GaugeValues:
    return {} if value is None else {(): value}


def sampled_memory_bytes(sample: Sample, kind: str) -> float:
    """Return what a process held of *part* when it was sampled."""
    return sample.gauges.get(("recsys_memory_bytes", (("kind", kind),)), 0.0)


def hit_ratios(found: Sequence[Sample]) -> GaugeValues:
    """Return the share of look-ups that found something, by cache and of all of them."""
    counts = samples.sum_increments(found, "recsys_cache_requests_total", "cache", "outcome")
    sums: dict[str, float] = {}
    hits: dict[str, float] = {}
    for (cache, outcome), count in counts.items():
        sums[cache] = sums.get(cache, 0.0) + count
        hits[cache] = hits.get(cache, 0.0) + count * (outcome != "miss")
    sums["all"], hits["all"] = sum(sums.values()), sum(hits.values())
    return {(cache,): hits[cache] / asked for cache, asked in sums.items() if asked >= MIN_FEEDS}


def count_failures(found: Sequence[Sample]) -> tuple[float, float]:
    """Return how many feeds failed, and how many were asked for."""
    failed = sum(samples.sum_increments(found, "recsys_feed_failures_total").values())
    return failed, failed + sum(samples.sum_increments(found, "recsys_feeds_total").values())


def error_ratio(found: Sequence[Sample]) -> float | None:
    """Return the share of feeds that failed; None of too few."""
    failed, asked = count_failures(found)
    return failed / asked if asked >= MIN_FEEDS else None


def burn_rate(found: Sequence[Sample]) -> float | None:
    """Return the share of feeds that failed or were slow over the share that may; None of too few."""
    failed, asked = count_failures(found)
    if asked < MIN_FEEDS:
        return None
    served = sum(samples.sum_increments(found, "recsys_feed_seconds_count").values())
    fast = samples.sum_increments(found, "recsys_feed_seconds_bucket", "le")[FAST_FEED_BUCKET,]
    return (failed + served - fast) / asked / (1 - SLO_TARGET)


def register_sample_gauges() -> None:
    """Have these read when somebody asks."""
    gauges.register_gauges(
        metrics.OPERATION_SECONDS,
        metrics.HEAP_BYTES,
        metrics.MEMORY_USAGE_RATIO,
        metrics.CACHE_HIT_RATIO,
        metrics.ERROR_RATIO,
        metrics.SLO_BURN_RATE,
        compute=compute_sample_gauges,
    )
