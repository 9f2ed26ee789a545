"""Metrics of feeds: what each page and each slate was built from, how long it took, and requests that failed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import ParamSpec, TypeVar

from monitoring import latency, metrics, spans
from recommendations.contracts import Slate
from recommendations.pipeline.stages import StageTiming, Trace
from recommendations.services.errors import ServiceError

P = ParamSpec("P")
R = TypeVar("R")

# Looking up the child of a label costs as much as counting, and there are few children.
stage_seconds = cache(metrics.STAGE_SECONDS.labels)
stage_candidates = cache(metrics.STAGE_CANDIDATES.labels)
candidates = cache(metrics.SOURCE_CANDIDATES.labels)
filtered = cache(metrics.FILTER_INPUTS.labels)
dropped = cache(metrics.FILTER_DROPS.labels)
feed_seconds = cache(metrics.FEED_SECONDS.labels)
feeds = cache(metrics.FEEDS.labels)
slate_cache_requests = cache(partial(metrics.CACHE_REQUESTS.labels, "slates"))

MASK_STAGES = frozenset({"eligible", "filter"})
"""Stages of ten filters, timed together: each filter takes microseconds, and recording its time may cost more."""
SERVER_ERROR = 500
"""The lowest HTTP status of an error that is ours and not the caller's."""


def count_failures(service: Callable[P, R]) -> Callable[P, R]:
    """Return *service* with its failures counted. 4xx errors are the caller's and are not counted."""

    @wraps(service)
    def counting_service(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return service(*args, **kwargs)
        except ServiceError as error:
            if error.status >= SERVER_ERROR:
                count_failure(kwargs, error.code)
            raise
        except Exception:
            count_failure(kwargs, "unexpected")
            raise

    return counting_service


def count_failure(arguments: dict[str, object], code: str) -> None:
    """Count one feed that could not be served. Its name was validated before anything else could fail."""
    metrics.FEED_FAILURES.labels(str(arguments.get("feed", "discovery")), code).inc()


def record_page_metrics(
    feed: str, slate: Slate, cache_outcome: str, seconds: float, *, is_full: bool, is_empty: bool
) -> None:
    """Record one page. *cache_outcome*: hit, stale or miss, for the slate in the slate cache."""
    feed_seconds(feed, slate.engine, "false" if cache_outcome == "miss" else "true").observe(seconds)
    feeds(feed, slate.engine, slate.variant, slate.fallback).inc()
    slate_cache_requests(cache_outcome).inc()
    latency.observe_operation("feed", seconds)
    if not is_full:
        metrics.INCOMPLETE_PAGES.labels(feed, "empty" if is_empty else "short").inc()


def record_slate_metrics(slate: Slate, trace: Trace, seconds: float) -> None:
    """Record one slate that was built in *seconds*: each stage's time, candidates and failures, and the fallback."""
    latency.observe_operation("recommendation_generation", seconds)
    if slate.fallback:
        metrics.FALLBACKS.labels(slate.fallback).inc()
    send_spans(trace.timings)
    record_components(trace.timings)
    record_mask_seconds(trace.timings)
    record_stage_candidates(trace.timings)


def send_spans(timings: Sequence[StageTiming]) -> None:
    """Tell every listener for spans about each component's run."""
    for listener in spans.SPAN_LISTENERS:
        for timing in timings:
            attributes = {"remaining": timing.remaining, "dropped": timing.dropped, "failed": timing.failed}
            listener(f"{timing.stage} {timing.component}", timing.ended_at, timing.seconds, attributes)


def record_components(timings: Sequence[StageTiming]) -> None:
    """Record each component's failure and candidates, and its time unless its stage is timed together."""
    for timing in timings:
        stage, component = timing.stage, timing.component
        if stage not in MASK_STAGES:
            stage_seconds(stage, component).observe(timing.seconds)
        if timing.failed:
            metrics.COMPONENT_FAILURES.labels(stage, component).inc()
        if stage == "source":
            candidates(component).inc(timing.remaining)
        elif stage == "filter":
            filtered(component).inc(timing.remaining + timing.dropped)
            drops = dropped(component)  # made with the first feed, so that the metric exists with the value 0
            if timing.dropped:
                drops.inc(timing.dropped)


def record_mask_seconds(timings: Sequence[StageTiming]) -> None:
    """Record the time that each stage of masks took in all."""
    stage_totals: defaultdict[str, float] = defaultdict(float)
    for timing in timings:
        if timing.stage in MASK_STAGES:
            stage_totals[timing.stage] += timing.seconds
    for stage, seconds in stage_totals.items():
        stage_seconds(stage, "all").observe(seconds)


def record_stage_candidates(timings: Sequence[StageTiming]) -> None:
    """Record how many candidates went into each stage and came out. Sources add up; they have no input."""
    entered, left = Counter[str](), Counter[str]()
    brought = 0
    for timing in timings:
        entered.setdefault(timing.stage, timing.remaining + timing.dropped)
        left[timing.stage] = timing.remaining
        brought += timing.remaining if timing.stage == "source" else 0
    left["source"] = brought
    for stage, count in left.items():
        if stage != "source":
            stage_candidates(stage, "in").inc(entered[stage])
        stage_candidates(stage, "out").inc(count)
