"""What recommending tells monitoring: figures that are read when somebody asks, and what each process holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, QuerySet

from monitoring import clock, gauges, metrics, samples
from monitoring.gauges import GaugeValues
from monitoring.metrics import ComputedGauge
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import EmbeddingModel, Interaction, Job
from recommendations.services import wiring, work
from recommendations.services.measuring import quality
from recommendations.services.vectors.embedding import CONTENT_SPACE, embedding_lag_seconds, posts_without_vector

MAX_COUNT = 10_000
"""A backlog is counted no further: that it is long is known by then."""
MINUTE = timedelta(minutes=1)

GaugeFunction = Callable[..., float | None]


def job_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return how many jobs wait and run, and how old the oldest is."""
    rows = Job.objects.filter(state__in=work.UNFINISHED_STATES).order_by().values_list("kind", "state")
    found = list(rows.annotate(count=Count("pk"), oldest=Min("created_at")))
    ages = {kind: max((now - oldest).total_seconds() for k, _, _, oldest in found if k == kind) for kind, *_ in found}
    return {
        metrics.JOBS: {(kind, state): count for kind, state, count, _ in found},
        metrics.JOB_AGE_SECONDS: {(kind,): age for kind, age in ages.items()},
    }


def count_up_to_max(rows: QuerySet[object]) -> int:  # type: ignore[type-var]
    """Return how many rows there are, as far as it is worth counting."""
    return rows.order_by()[:MAX_COUNT].count()


def backlog_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return what is still to be learned and to be embedded."""
    found: dict[ComputedGauge, GaugeValues] = {
        metrics.UNLEARNED_INTERACTIONS: {(): count_up_to_max(Interaction.objects.filter(is_learned=False))},
        metrics.UNEMBEDDED_POSTS: {},
        metrics.EMBEDDING_LAG_SECONDS: {},
        metrics.EMBEDDING_MODEL_AGE_SECONDS: {},
    }
    for model in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE):
        if model.activated_at:
            found[metrics.EMBEDDING_MODEL_AGE_SECONDS][(model.space,)] = (now - model.activated_at).total_seconds()
        if model.space == CONTENT_SPACE:
            found[metrics.UNEMBEDDED_POSTS][(CONTENT_SPACE,)] = count_up_to_max(posts_without_vector(model.name))
            found[metrics.EMBEDDING_LAG_SECONDS][(CONTENT_SPACE,)] = embedding_lag_seconds(model=model.name, now=now)
    return found


def single_value_gauge(
    family: ComputedGauge, function: GaugeFunction
) -> Callable[[datetime], dict[ComputedGauge, GaugeValues]]:
    """Return how to read a figure without labels; without a value it has none."""

    def read(now: datetime) -> dict[ComputedGauge, GaugeValues]:
        value = function(now=now)
        return {family: {} if value is None else {(): value}}

    return read


def qdrant_gauges(_now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return whether the vector index answers."""
    index = wiring.vector_index()
    if index is None:
        return {}
    try:
        index.ping()
    except Exception:
        return {metrics.QDRANT_UP: {(): 0.0}}
    return {metrics.QDRANT_UP: {(): 1.0}}


class ReportedCounters:
    """What this process has told of its kernels, which count for themselves."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.deadlines: dict[str, int] = {}


reported_counters = wiring.per_process(ReportedCounters)


def counter_growth(before: dict[str, int], space: str, count: int) -> int:
    """Return how much *count* grew; a kernel that was made anew began again at 0."""
    grew = count - before.get(space, 0)
    before[space] = count
    return grew if grew >= 0 else count


def observe_kernels() -> None:
    """Tell what the kernels of this process hold and did."""
    parts = wiring.vector_parts_holder.get_if_created()
    for space, engines in parts.current.spaces.items() if parts else ():
        for engine in engines.values():
            if not isinstance(engine, WasmEngine):
                continue
            held = engine.statistics()
            calls = sum(shard.calls for shard in held.shards)
            late = sum(shard.deadlines_exceeded for shard in held.shards)
            metrics.KERNEL_CALLS.labels(space).inc(counter_growth(reported_counters().calls, space, calls))
            metrics.KERNEL_DEADLINES.labels(space).inc(counter_growth(reported_counters().deadlines, space, late))
            metrics.KERNEL_ROWS.labels(space).set(held.rows)
            for kind, size in (
                ("rows", held.resident_bytes),
                ("held", held.memory_bytes),
                ("limit", held.memory_limit_bytes),
            ):
                metrics.KERNEL_BYTES.labels(space, kind).set(size)


def observe_catalogue(now: datetime) -> None:
    """Tell how many posts are resident in this process, and how old that is."""
    if parts := wiring.vector_parts_holder.get_if_created():
        catalogue = parts.current.catalogue
        if catalogue.refreshed_at is not None:
            metrics.CATALOGUE_POSTS.set(len(catalogue))
            metrics.CATALOGUE_LAG_SECONDS.set(max(0.0, (now - catalogue.refreshed_at).total_seconds()))


def observe_process() -> None:
    """Tell what this process holds: `samples.py` says when."""
    observe_kernels()
    observe_catalogue(clock.now())


def register_gauges() -> None:
    """Let these figures be read."""
    gauges.register_gauges(metrics.JOBS, metrics.JOB_AGE_SECONDS, compute=job_gauges)
    gauges.register_gauges(
        metrics.UNLEARNED_INTERACTIONS,
        metrics.UNEMBEDDED_POSTS,
        metrics.EMBEDDING_LAG_SECONDS,
        metrics.EMBEDDING_MODEL_AGE_SECONDS,
        compute=backlog_gauges,
        max_age=MINUTE,
    )
    gauges.register_gauges(
        metrics.QUALITY_SCORE,
        compute=single_value_gauge(metrics.QUALITY_SCORE, quality.quality_score),
        max_age=5 * MINUTE,
    )
    gauges.register_gauges(
        metrics.COVERAGE_RATIO,
        compute=single_value_gauge(metrics.COVERAGE_RATIO, quality.catalogue_coverage),
        max_age=5 * MINUTE,
    )
    gauges.register_gauges(
        metrics.CLICK_THROUGH_RATIO,
        compute=single_value_gauge(metrics.CLICK_THROUGH_RATIO, quality.click_through_rate),
        max_age=5 * MINUTE,
    )
    if settings.ENV.qdrant_url:
        gauges.register_gauges(metrics.QDRANT_UP, compute=qdrant_gauges)
    samples.register_observer(observe_process)
