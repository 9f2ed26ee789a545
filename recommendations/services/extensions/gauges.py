"""What recommending tells monitoring: figures that are read when somebody asks, and what each process holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, QuerySet

from monitoring import clock, metrics, readings, samples
from monitoring.metrics import Read
from monitoring.readings import Values
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import EmbeddingModel, Interaction, Job
from recommendations.services import wiring, work
from recommendations.services.measuring import quality
from recommendations.services.vectors.embedding import SPACE, embedding_lag_seconds, lacking

COUNTED_AT_MOST = 10_000
"""A backlog is counted no further: that it is long is known by then."""
MINUTE = timedelta(minutes=1)

Figure = Callable[..., float | None]


def jobs(now: datetime) -> dict[Read, Values]:
    """Return how many jobs wait and run, and how old the oldest is."""
    rows = Job.objects.filter(state__in=work.OPEN).order_by().values_list("kind", "state")
    found = list(rows.annotate(count=Count("pk"), oldest=Min("created_at")))
    ages = {kind: max((now - oldest).total_seconds() for k, _, _, oldest in found if k == kind) for kind, *_ in found}
    return {
        metrics.JOBS: {(kind, state): count for kind, state, count, _ in found},
        metrics.JOB_AGE_SECONDS: {(kind,): age for kind, age in ages.items()},
    }


def counted(rows: QuerySet[object]) -> int:  # type: ignore[type-var]
    """Return how many rows there are, as far as it is worth counting."""
    return rows.order_by()[:COUNTED_AT_MOST].count()


def backlogs(now: datetime) -> dict[Read, Values]:
    """Return what is still to be learned and to be embedded."""
    found: dict[Read, Values] = {
        metrics.UNLEARNED: {(): counted(Interaction.objects.filter(is_learned=False))},
        metrics.EMBEDDING_WAITING: {},
        metrics.EMBEDDING_LAG_SECONDS: {},
        metrics.MODEL_AGE_SECONDS: {},
    }
    for model in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE):
        if model.activated_at:
            found[metrics.MODEL_AGE_SECONDS][(model.space,)] = (now - model.activated_at).total_seconds()
        if model.space == SPACE:
            found[metrics.EMBEDDING_WAITING][(SPACE,)] = counted(lacking(model.name))
            found[metrics.EMBEDDING_LAG_SECONDS][(SPACE,)] = embedding_lag_seconds(model=model.name, now=now)
    return found


def single(family: Read, figure: Figure) -> Callable[[datetime], dict[Read, Values]]:
    """Return how to read a figure without labels; without a value it has none."""

    def read(now: datetime) -> dict[Read, Values]:
        value = figure(now=now)
        return {family: {} if value is None else {(): value}}

    return read


def qdrant(_now: datetime) -> dict[Read, Values]:
    """Return whether the vector index answers."""
    index = wiring.vector_index()
    if index is None:
        return {}
    try:
        index.check()
    except Exception:
        return {metrics.QDRANT_UP: {(): 0.0}}
    return {metrics.QDRANT_UP: {(): 1.0}}


class Told:
    """What this process has told of its kernels, which count for themselves."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.deadlines: dict[str, int] = {}


told = wiring.per_process(Told)


def grown(before: dict[str, int], space: str, count: int) -> int:
    """Return how much *count* grew; a kernel that was made anew began again at 0."""
    grew = count - before.get(space, 0)
    before[space] = count
    return grew if grew >= 0 else count


def observe_kernels() -> None:
    """Tell what the kernels of this process hold and did."""
    parts = wiring.parts.if_made()
    for space, engines in parts.serving.spaces.items() if parts else ():
        for engine in engines.values():
            if not isinstance(engine, WasmEngine):
                continue
            held = engine.statistics()
            calls = sum(shard.calls for shard in held.shards)
            late = sum(shard.deadlines_exceeded for shard in held.shards)
            metrics.KERNEL_CALLS.labels(space).inc(grown(told().calls, space, calls))
            metrics.KERNEL_DEADLINES.labels(space).inc(grown(told().deadlines, space, late))
            metrics.KERNEL_ROWS.labels(space).set(held.rows)
            for kind, size in (
                ("rows", held.resident_bytes),
                ("held", held.memory_bytes),
                ("limit", held.memory_limit_bytes),
            ):
                metrics.KERNEL_BYTES.labels(space, kind).set(size)


def observe_catalogue(now: datetime) -> None:
    """Tell how many posts are resident in this process, and how old that is."""
    if parts := wiring.parts.if_made():
        catalogue = parts.serving.catalogue
        if catalogue.refreshed_at is not None:
            metrics.CATALOGUE_POSTS.set(len(catalogue))
            metrics.CATALOGUE_LAG_SECONDS.set(max(0.0, (now - catalogue.refreshed_at).total_seconds()))


def observe_process() -> None:
    """Tell what this process holds: `samples.py` says when."""
    observe_kernels()
    observe_catalogue(clock.now())


def register() -> None:
    """Let these figures be read."""
    readings.register(metrics.JOBS, metrics.JOB_AGE_SECONDS, read=jobs)
    readings.register(
        metrics.UNLEARNED,
        metrics.EMBEDDING_WAITING,
        metrics.EMBEDDING_LAG_SECONDS,
        metrics.MODEL_AGE_SECONDS,
        read=backlogs,
        every=MINUTE,
    )
    readings.register(metrics.QUALITY, read=single(metrics.QUALITY, quality.quality_score), every=5 * MINUTE)
    readings.register(metrics.COVERAGE, read=single(metrics.COVERAGE, quality.coverage), every=5 * MINUTE)
    readings.register(
        metrics.CLICK_THROUGH, read=single(metrics.CLICK_THROUGH, quality.click_through), every=5 * MINUTE
    )
    if settings.ENV.qdrant_url:
        readings.register(metrics.QDRANT_UP, read=qdrant)
    samples.before_each(observe_process)
