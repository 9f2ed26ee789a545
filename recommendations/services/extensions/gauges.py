"""Computed gauges of recommendations, and the gauges that each process sets before it takes a sample."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, QuerySet

from monitoring import clock, gauges, metrics
from monitoring.gauges import GaugeValues
from monitoring.metrics import ComputedGauge
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import EmbeddingModel, Interaction, Job, TrainedModel
from recommendations.services import wiring, work
from recommendations.services.measuring import evaluations, quality
from recommendations.services.vectors.embedding import CONTENT_SPACE, embedding_lag_seconds, posts_without_vector

MAX_COUNT = 10_000
"""Upper limit of the count of a backlog: a larger number would not matter, and counting costs time."""
MINUTE = timedelta(minutes=1)

GaugeFunction = Callable[..., float | None]


def job_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return the number of unfinished jobs by kind and state, and the age of the oldest by kind."""
    unfinished = Job.objects.filter(state__in=work.UNFINISHED_STATES).order_by().values_list("kind", "state")
    rows = list(unfinished.annotate(count=Count("pk"), oldest=Min("created_at")))
    ages = {kind: max((now - oldest).total_seconds() for k, _, _, oldest in rows if k == kind) for kind, *_ in rows}
    return {
        metrics.JOBS: {(kind, state): count for kind, state, count, _ in rows},
        metrics.JOB_AGE_SECONDS: {(kind,): age for kind, age in ages.items()},
    }


def count_up_to_max(rows: QuerySet[object]) -> int:  # type: ignore[type-var]
    """Return the number of rows, at most `MAX_COUNT`."""
    return rows.order_by()[:MAX_COUNT].count()


def backlog_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return the backlogs of learning and embedding, and the age of the active embedding models."""
    values: dict[ComputedGauge, GaugeValues] = {
        metrics.UNLEARNED_INTERACTIONS: {
            (): count_up_to_max(Interaction.objects.filter(is_learned=False, undone_at=None))
        },
        metrics.UNEMBEDDED_POSTS: {},
        metrics.EMBEDDING_LAG_SECONDS: {},
        metrics.EMBEDDING_MODEL_AGE_SECONDS: {},
    }
    for model in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE):
        if model.activated_at:
            values[metrics.EMBEDDING_MODEL_AGE_SECONDS][(model.space,)] = (now - model.activated_at).total_seconds()
        if model.space == CONTENT_SPACE:
            values[metrics.UNEMBEDDED_POSTS][(CONTENT_SPACE,)] = count_up_to_max(posts_without_vector(model.name))
            values[metrics.EMBEDDING_LAG_SECONDS][(CONTENT_SPACE,)] = embedding_lag_seconds(model=model.name, now=now)
    return values


def trained_model_gauges(now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return the age, the size and the training time of the active trained models."""
    values: dict[ComputedGauge, GaugeValues] = {
        metrics.TRAINED_MODEL_AGE_SECONDS: {},
        metrics.TRAINED_MODEL_BYTES: {},
        metrics.TRAINING_SECONDS: {},
    }
    for model in TrainedModel.objects.filter(state=TrainedModel.State.ACTIVE):
        values[metrics.TRAINED_MODEL_AGE_SECONDS][(model.kind,)] = (now - model.created_at).total_seconds()
        values[metrics.TRAINED_MODEL_BYTES][(model.kind,)] = model.size_bytes
        values[metrics.TRAINING_SECONDS][(model.kind,)] = model.metrics["training_seconds"]
    return values


def single_value_gauge(
    gauge: ComputedGauge, function: GaugeFunction
) -> Callable[[datetime], dict[ComputedGauge, GaugeValues]]:
    """Return a function that computes a gauge without labels. If *function* returns None, the gauge has no value."""

    def compute(now: datetime) -> dict[ComputedGauge, GaugeValues]:
        value = function(now=now)
        return {gauge: {} if value is None else {(): value}}

    return compute


def qdrant_gauges(_now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return whether the vector index responds."""
    index = wiring.vector_index()
    if index is None:
        return {}
    try:
        index.ping()
    except Exception:
        return {metrics.QDRANT_UP: {(): 0.0}}
    return {metrics.QDRANT_UP: {(): 1.0}}


class ReportedCounters:
    """The counts of each kernel that this process has already added to its metrics. Kernels have their own counters."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.deadlines: dict[str, int] = {}


reported_counters = wiring.per_process(ReportedCounters)


def counter_growth(before: dict[str, int], space: str, count: int) -> int:
    """Return the growth of *count* since the last call, and store it. A recreated kernel counts from 0 again."""
    growth = count - before.get(space, 0)
    before[space] = count
    return growth if growth >= 0 else count


def observe_kernels() -> None:
    """Update the metrics of the kernels of this process: calls, missed deadlines, rows and memory."""
    parts = wiring.vector_parts_holder.get_if_created()
    for space, engines in parts.current.spaces.items() if parts else ():
        for engine in engines.values():
            if not isinstance(engine, WasmEngine):
                continue
            statistics = engine.statistics()
            calls = sum(shard.calls for shard in statistics.shards)
            deadlines = sum(shard.deadlines_exceeded for shard in statistics.shards)
            metrics.KERNEL_CALLS.labels(space).inc(counter_growth(reported_counters().calls, space, calls))
            metrics.KERNEL_DEADLINES.labels(space).inc(counter_growth(reported_counters().deadlines, space, deadlines))
            metrics.KERNEL_ROWS.labels(space).set(statistics.rows)
            for kind, size in (
                ("rows", statistics.resident_bytes),
                ("allocated", statistics.memory_bytes),
                ("limit", statistics.memory_limit_bytes),
            ):
                metrics.KERNEL_BYTES.labels(space, kind).set(size)


def observe_catalogue(now: datetime) -> None:
    """Update the metrics of the catalogue of this process: number of posts, and age."""
    if parts := wiring.vector_parts_holder.get_if_created():
        catalogue = parts.current.catalogue
        if catalogue.refreshed_at is not None:
            metrics.CATALOGUE_POSTS.set(len(catalogue))
            metrics.CATALOGUE_LAG_SECONDS.set(max(0.0, (now - catalogue.refreshed_at).total_seconds()))


def observe_process() -> None:
    """Update the metrics of this process. Called before each sample (`monitoring.samples`)."""
    observe_kernels()
    observe_catalogue(clock.now())


def register() -> None:
    """Register the computed gauges."""
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
        metrics.TRAINED_MODEL_AGE_SECONDS,
        metrics.TRAINED_MODEL_BYTES,
        metrics.TRAINING_SECONDS,
        compute=trained_model_gauges,
        max_age=MINUTE,
    )
    gauges.register_gauges(
        metrics.QUALITY_SCORE,
        compute=single_value_gauge(metrics.QUALITY_SCORE, evaluations.quality_score),
        max_age=5 * MINUTE,
    )
    gauges.register_gauges(
        metrics.QUALITY_REGRESSION,
        compute=single_value_gauge(metrics.QUALITY_REGRESSION, evaluations.quality_regression),
        max_age=5 * MINUTE,
    )
    gauges.register_gauges(
        metrics.SERVED_NDCG,
        compute=single_value_gauge(metrics.SERVED_NDCG, quality.served_ndcg),
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
