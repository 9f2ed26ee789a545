"""
The readings of what processes counted lately, put together over all of them: what the rules of alerts watch.

A reading without samples says nothing, and neither opens nor closes an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitoring import memory, metrics, readings, samples
from monitoring.metrics import Read
from monitoring.readings import Values
from monitoring.samples import Sample

WINDOW = timedelta(minutes=5)
HOUR = timedelta(hours=1)
LEAST_FEEDS = 20
"""With fewer in the window a share of them says nothing."""
OBJECTIVE = 0.999
"""Share of feeds, over 30 days, that shall be served within `GOOD_SECONDS`."""
GOOD_SECONDS = "0.5"
"""As the bucket of recsys_feed_seconds is called."""


def lately(now: datetime) -> dict[Read, Values]:
    """Return what the samples of the last five minutes say; and of the last hour, how fast the error budget goes."""
    hour = samples.read(now, HOUR)
    since = (now - WINDOW).timestamp()
    found = [one for one in hour if one.at >= since]
    took = samples.timings(found)
    return {
        metrics.OPERATION_SECONDS: {
            (operation, name): getattr(timing, name)
            for operation, timing in took.items()
            for name in ("p50", "p95", "p99")
        },
        metrics.HEAP_BYTES: single(max((held(one, "heap") for one in found), default=None)),
        metrics.MEMORY_SHARE: single(memory.share_in_use()),
        metrics.HIT_RATIO: hit_ratios(found),
        metrics.ERROR_RATIO: single(error_ratio(found)),
        metrics.SLO_BURN: {
            (window,): burnt for window, part in (("5m", found), ("1h", hour)) if (burnt := burn(part)) is not None
        },
    }


def single(value: float | None) -> Values:
    return {} if value is None else {(): value}


def held(sample: Sample, part: str) -> float:
    """Return what a process held of *part* when it was sampled."""
    return sample.held.get(("recsys_memory_bytes", (("part", part),)), 0.0)


def hit_ratios(found: Sequence[Sample]) -> Values:
    """Return the share of look-ups that found something, by cache and of all of them."""
    counts = samples.total(found, "recsys_cache_requests_total", "cache", "outcome")
    sums: dict[str, float] = {}
    hits: dict[str, float] = {}
    for (cache, outcome), count in counts.items():
        sums[cache] = sums.get(cache, 0.0) + count
        hits[cache] = hits.get(cache, 0.0) + count * (outcome != "miss")
    sums["all"], hits["all"] = sum(sums.values()), sum(hits.values())
    return {(cache,): hits[cache] / asked for cache, asked in sums.items() if asked >= LEAST_FEEDS}


def failures(found: Sequence[Sample]) -> tuple[float, float]:
    """Return how many feeds failed, and how many were asked for."""
    failed = sum(samples.total(found, "recsys_feed_failures_total").values())
    return failed, failed + sum(samples.total(found, "recsys_feeds_total").values())


def error_ratio(found: Sequence[Sample]) -> float | None:
    """Return the share of feeds that failed; None of too few."""
    failed, asked = failures(found)
    return failed / asked if asked >= LEAST_FEEDS else None


def burn(found: Sequence[Sample]) -> float | None:
    """Return the share of feeds that failed or were slow over the share that may; None of too few."""
    failed, asked = failures(found)
    if asked < LEAST_FEEDS:
        return None
    served = sum(samples.total(found, "recsys_feed_seconds_count").values())
    fast = samples.total(found, "recsys_feed_seconds_bucket", "le")[GOOD_SECONDS,]
    return (failed + served - fast) / asked / (1 - OBJECTIVE)


def connect() -> None:
    """Have these read when somebody asks."""
    readings.register(
        metrics.OPERATION_SECONDS,
        metrics.HEAP_BYTES,
        metrics.MEMORY_SHARE,
        metrics.HIT_RATIO,
        metrics.ERROR_RATIO,
        metrics.SLO_BURN,
        read=lately,
    )
