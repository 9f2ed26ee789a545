"""What is counted of a feed: once it is there, from what its parts noted on the road; or that it could not be made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import ParamSpec, TypeVar

from monitoring import metrics, performance, spans
from recommendations.contracts import Slate
from recommendations.pipeline.stages import Trace
from recommendations.services.errors import ServiceError

P = ParamSpec("P")
R = TypeVar("R")

# Looking a label's child up costs as much as counting, and there are few of them.
stage_seconds = cache(metrics.STAGE_SECONDS.labels)
stage_candidates = cache(metrics.STAGE_CANDIDATES.labels)
candidates = cache(metrics.CANDIDATES.labels)
filtered = cache(metrics.FILTERED.labels)
dropped = cache(metrics.DROPPED.labels)
feed_seconds = cache(metrics.FEED_SECONDS.labels)
feeds = cache(metrics.FEEDS.labels)
slates = cache(partial(metrics.CACHE_REQUESTS.labels, "slates"))

MASKS = frozenset({"eligible", "filter"})
"""Stages of ten filters of microseconds each: timed as one, since telling of each costs more than some take."""
SERVER_ERROR = 500
"""From this status on a refusal is our failure, not the caller's."""


def counted(make: Callable[P, R]) -> Callable[P, R]:
    """Return *make* with its failures counted; what the caller did wrong is none of ours."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return make(*args, **kwargs)
        except ServiceError as error:
            if error.status >= SERVER_ERROR:
                failed(kwargs, error.code)
            raise
        except Exception:
            failed(kwargs, "unexpected")
            raise

    return made


def failed(asked: dict[str, object], code: str) -> None:
    """Count a feed that could not be served; its name was checked before anything else could fail."""
    metrics.FEED_FAILURES.labels(str(asked.get("feed", "discovery")), code).inc()


def observe_page(feed: str, slate: Slate, found: str, seconds: float, *, is_full: bool, is_empty: bool) -> None:
    """Count one page, and what came of asking the cache for its slate: *found*."""
    feed_seconds(feed, slate.engine, "false" if found == "miss" else "true").observe(seconds)
    feeds(feed, slate.engine, slate.variant, slate.fallback).inc()
    slates(found).inc()
    performance.observe("feed", seconds)
    if not is_full:
        metrics.THIN_PAGES.labels(feed, "empty" if is_empty else "short").inc()


def observe_slate(slate: Slate, trace: Trace, seconds: float) -> None:
    """Count what each part did to make a slate, and what went into each stage and came out."""
    performance.observe("recommendation_generation", seconds)
    if slate.fallback:
        metrics.FALLBACKS.labels(slate.fallback).inc()
    came, left, brought = Counter[str](), Counter[str](), 0
    masked: defaultdict[str, float] = defaultdict(float)
    for timing in trace.timings:
        stage, part = timing.stage, timing.part
        for tell in spans.LISTENERS:
            about = {"kept": timing.kept, "dropped": timing.dropped, "failed": timing.failed}
            tell(f"{stage} {part}", timing.ended_at, timing.seconds, about)
        if stage in MASKS:
            masked[stage] += timing.seconds
        else:
            stage_seconds(stage, part).observe(timing.seconds)
        if timing.failed:
            metrics.PART_FAILURES.labels(stage, part).inc()
        if stage == "source":
            brought += timing.kept
            candidates(part).inc(timing.kept)
        elif stage == "filter":
            filtered(part).inc(timing.kept + timing.dropped)
            fell = dropped(part)  # there from the first feed on, with 0
            if timing.dropped:
                fell.inc(timing.dropped)
        came.setdefault(stage, timing.kept + timing.dropped)
        left[stage] = timing.kept
    for stage, spent in masked.items():
        stage_seconds(stage, "all").observe(spent)
    left["source"] = brought
    for stage, count in left.items():
        if stage != "source":
            stage_candidates(stage, "in").inc(came[stage])
        stage_candidates(stage, "out").inc(count)
