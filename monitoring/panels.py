"""Dashboard panels for any service: health, traffic, stages, memory, caches, workers, maintenance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.translation import gettext

from monitoring import health, samples, workers
from monitoring.dashboard import Bars, Cell, Panel, Plot, Point, Stat, Table, register_panel
from monitoring.models import MaintenanceRun, MaintenanceTask
from monitoring.samples import Sample
from values.translation import translatable

LOOKBACK = timedelta(hours=1)
RECENT = timedelta(minutes=5)
"""The period of the stats."""
MINUTE = 60.0
MIB = 2**20
MAX_SHOWN_RUNS = 12
PROCESS_CACHES = ("preference_vectors", "pages", "viewers", "posts")
"""Caches that each process has for itself."""
NO_SAMPLES = translatable("No process reported metrics in the last hour. Request a feed or start a job.")


def state_panel(now: datetime) -> Panel:
    """Show the health checks, the queues and beat, with the reasons of failures."""
    findings = [*health.run_health_checks(now), *workers.check_worker_health(now)]
    failures = [finding for finding in findings if finding.reason]
    passed = len(findings) - len(failures)
    rows = [[finding.name, finding.reason] for finding in failures]
    return Panel(
        stats=[
            Stat(
                translatable("checks passed"),
                passed,
                gettext("of {count}").format(count=len(findings)),
                "bad" if failures else "good",
            )
        ],
        tables=[Table(translatable("Failed checks"), [translatable("check"), translatable("reason")], rows)]
        if failures
        else [],
        note="" if failures else translatable("Database, Redis, kernel, catalogue, queues and beat are healthy."),
    )


def traffic_panel(now: datetime) -> Panel:
    """Show the rate and the latency of feeds, fresh and cached, and the share of 5xx responses."""
    loaded = samples.load_samples(now, LOOKBACK)
    if not samples.sum_increments(loaded, "recsys_feed_seconds_count"):
        return Panel(empty_text=NO_SAMPLES)
    recent = samples_since(loaded, now - RECENT)
    feeds = samples.sum_increments(recent, "recsys_feed_seconds_count", "cached")
    count = sum(feeds.values())
    responses = samples.sum_increments(recent, "django_http_responses_total_by_status_total", "status")
    errors = sum(value for (status,), value in responses.items() if status.startswith("5"))
    minutes = group_by_minute(loaded, now)
    return Panel(
        stats=[
            Stat(translatable("feeds per minute"), round(count / (RECENT.total_seconds() / MINUTE), 1)),
            Stat(
                translatable("p50"), milliseconds(samples.histogram_quantile(recent, "recsys_feed_seconds", 0.5)), "ms"
            ),
            Stat(
                translatable("p95"), milliseconds(samples.histogram_quantile(recent, "recsys_feed_seconds", 0.95)), "ms"
            ),
            Stat(translatable("from cache"), percent(feeds["true",], count), "%"),
            Stat(translatable("5xx responses"), percent(errors, sum(responses.values())), "%", "bad" if errors else ""),
        ],
        plots=[
            Plot(
                translatable("Feeds per minute"),
                "",
                {
                    name: [
                        (at, samples.sum_increments(in_minute, "recsys_feed_seconds_count", "cached")[cached,])
                        for at, in_minute in minutes
                    ]
                    for name, cached in ((gettext("fresh"), "false"), (gettext("cached"), "true"))
                },
            ),
            Plot(
                translatable("Feed latency in the service"),
                "ms",
                {f"p{int(q * 100)}": quantile_line(minutes, q) for q in (0.5, 0.95)},
            ),
        ],
        note=gettext("The numbers above cover the last {minutes} minutes.").format(minutes=RECENT.seconds // 60),
    )


def stages_panel(now: datetime) -> Panel:
    """Show the time of each pipeline stage and component, and the candidates of sources and filters."""
    loaded = samples.load_samples(now, LOOKBACK)
    seconds = samples.sum_increments(loaded, "recsys_stage_seconds_sum", "stage", "component")
    calls = samples.sum_increments(loaded, "recsys_stage_seconds_count", "stage", "component")
    if not calls:
        return Panel(
            empty_text=translatable("No slate was built in the last hour. A cached slate passes no stage."),
        )
    candidates = samples.sum_increments(loaded, "recsys_source_candidates_total", "source")
    drops = samples.sum_increments(loaded, "recsys_filter_drops_total", "filter")
    means = {key: seconds[key] / calls[key] * 1000 for key in calls}
    per_stage: dict[str, float] = defaultdict(float)
    for (stage, _), mean in means.items():
        per_stage[stage] += mean
    rows: list[list[Cell]] = [
        [
            *(stage, component, round(means[stage, component], 3), calls[stage, component]),
            round(candidates[component,] / calls[stage, component], 1) if stage == "source" else None,
            round(drops[component,] / calls[stage, component], 1) if stage == "filter" else None,
        ]
        for stage, component in sorted(means, key=lambda key: -means[key])
    ]
    columns = [
        translatable("stage"),
        translatable("component"),
        translatable("mean ms"),
        translatable("calls"),
        translatable("candidates per call"),
        translatable("dropped per call"),
    ]
    return Panel(
        bars=[
            Bars(
                translatable("Mean time by stage, last hour"),
                "ms",
                {stage: round(mean, 3) for stage, mean in per_stage.items()},
            )
        ],
        tables=[Table(translatable("Components"), columns, rows)],
    )


def memory_panel(now: datetime) -> Panel:
    """Show the memory of each process over the last hour."""
    memory = samples.memory_by_process(samples.load_samples(now, LOOKBACK))
    if not memory:
        return Panel(empty_text=NO_SAMPLES)
    active = {
        process: points
        for process, points in memory.items()
        if now.timestamp() - points[-1][0] <= RECENT.total_seconds()
    }
    total = sum(points[-1][1] for points in active.values())
    largest = sorted(memory, key=lambda process: -max(size for _, size in memory[process]))[:6]
    return Panel(
        stats=[
            Stat(translatable("active processes"), len(active)),
            Stat(translatable("memory of active processes"), round(total / MIB), "MiB"),
        ],
        plots=[
            Plot(
                translatable("Memory of the largest processes"),
                "MiB",
                {
                    process: [(at, round(size / MIB, 1)) for at, size in downsample(memory[process])]
                    for process in largest
                },
            )
        ],
    )


def caches_panel(now: datetime) -> Panel:
    """Show the hit rate and the size of each cache."""
    loaded = samples.load_samples(now, LOOKBACK)
    requests = samples.sum_increments(loaded, "recsys_cache_requests_total", "cache", "outcome")
    if not requests:
        return Panel(empty_text=NO_SAMPLES)
    names = sorted({cache for cache, _ in requests})
    rows: list[list[Cell]] = []
    for cache in names:
        hit, stale, miss = (requests[cache, outcome] for outcome in ("hit", "stale", "miss"))
        entries, size = (cache_size(loaded, kind, cache) for kind in ("entries", "bytes"))
        rows.append([cache, percent(hit + stale, hit + stale + miss), hit, stale, miss, entries, size])
    periods = group_by_minute(loaded, now, interval=5 * MINUTE)
    return Panel(
        plots=[Plot(translatable("Cache hit rate"), "%", {cache: hit_rate_line(periods, cache) for cache in names})],
        tables=[
            Table(
                translatable("Caches, last hour"),
                [
                    translatable("cache"),
                    translatable("hit rate %"),
                    translatable("hits"),
                    translatable("stale"),
                    translatable("misses"),
                    translatable("entries"),
                    translatable("bytes"),
                ],
                rows,
            )
        ],
    )


def queues_panel(now: datetime) -> Panel:
    """Show the workers, the queues and beat."""
    state = workers.read_workers_state(now)
    worker_rows = [
        [
            worker.name,
            ", ".join(worker.queues),
            format_age(now, worker.seen_at),
            format_age(now, worker.started_at),
        ]
        for worker in state.workers
    ]
    return Panel(
        stats=[
            Stat(translatable("workers"), len(state.workers), "", "" if state.workers else "bad"),
            Stat(translatable("waiting tasks"), sum(queue.waiting_count for queue in state.queues)),
            Stat(
                translatable("beat"),
                gettext("running") if state.has_beat else gettext("not running"),
                "",
                "" if state.has_beat else "bad",
            ),
        ],
        tables=[
            Table(
                translatable("Queues"),
                [
                    translatable("queue"),
                    translatable("waiting"),
                    translatable("workers"),
                    translatable("last canary"),
                    translatable("state"),
                ],
                [
                    [
                        queue.name,
                        queue.waiting_count,
                        len(queue.workers),
                        format_age(now, queue.canary_at),
                        gettext("fails") if queue.reason else gettext("works"),
                    ]
                    for queue in state.queues
                ],
            ),
            Table(
                translatable("Workers"),
                [
                    translatable("worker"),
                    translatable("queues"),
                    translatable("last heartbeat"),
                    translatable("started"),
                ],
                worker_rows,
            ),
        ],
        note=gettext("Lost workers: {names}.").format(names=", ".join(state.lost_workers))
        if state.lost_workers
        else "",
    )


def maintenance_panel(now: datetime) -> Panel:
    """Show the running maintenance tasks and the newest runs."""
    runs = MaintenanceRun.objects.all()
    failed = runs.filter(started_at__gte=now - timedelta(days=1)).exclude(outcome=MaintenanceRun.Outcome.DONE).count()
    running = list(MaintenanceTask.objects.filter(is_running=True).values_list("name", flat=True))
    rows: list[list[Cell]] = [
        [
            run.name,
            run.outcome,
            format_age(now, run.started_at.timestamp()),
            round(run.seconds, 3),
            run.rows,
            run.note or run.error,
        ]
        for run in runs[:MAX_SHOWN_RUNS]
    ]
    if not rows and not running:
        return Panel(
            empty_text=translatable("No maintenance task has run yet. Beat sends the first within five minutes.")
        )
    return Panel(
        stats=[
            Stat(translatable("failed or lost in 24 h"), failed, "", "bad" if failed else "good"),
            Stat(translatable("running"), ", ".join(running) or gettext("none")),
        ],
        tables=[
            Table(
                translatable("Runs"),
                [
                    translatable("task"),
                    translatable("outcome"),
                    translatable("started"),
                    translatable("seconds"),
                    translatable("rows"),
                    translatable("note"),
                ],
                rows,
                reverse("admin:monitoring_maintenancerun_changelist"),
            )
        ],
    )


# Aggregation


def samples_since(loaded: Sequence[Sample], moment: datetime) -> list[Sample]:
    return [sample for sample in loaded if sample.at >= moment.timestamp()]


def group_by_minute(
    loaded: Sequence[Sample], now: datetime, *, interval: float = MINUTE
) -> list[tuple[float, list[Sample]]]:
    """
    Return the start (Unix seconds) and the samples of each period of *interval* seconds, also of empty periods.

    *loaded* must not be empty. The current period is incomplete and would look like a drop, so it is left out unless it
    is the only one.
    """
    complete = [sample for sample in loaded if sample.at < now.timestamp() // interval * interval]
    loaded = complete or loaded
    periods: dict[int, list[Sample]] = defaultdict(list)
    for sample in loaded:
        periods[int(sample.at // interval)].append(sample)
    return [(number * interval, periods.get(number, [])) for number in range(min(periods), max(periods) + 1)]


def quantile_line(minutes: Sequence[tuple[float, list[Sample]]], q: float) -> list[Point]:
    """Return the latency quantile in ms of each minute in which feeds were served."""
    line = ((at, samples.histogram_quantile(in_minute, "recsys_feed_seconds", q)) for at, in_minute in minutes)
    return [(at, round(value * 1000, 2)) for at, value in line if value is not None]


def hit_rate_line(periods: Sequence[tuple[float, list[Sample]]], cache: str) -> list[Point]:
    """Return the hit rate in percent of each period in which the cache was used."""
    line: list[Point] = []
    for at, in_period in periods:
        requests = samples.sum_increments(in_period, "recsys_cache_requests_total", "cache", "outcome")
        hit, stale, miss = (requests[cache, outcome] for outcome in ("hit", "stale", "miss"))
        rate = percent(hit + stale, hit + stale + miss)
        if rate is not None:
            line.append((at, rate))
    return line


def cache_size(loaded: Sequence[Sample], kind: str, cache: str) -> int | None:
    """
    Return the size of a cache (*kind*: entries or bytes), or None if no sample has it.

    The size of a shared cache is that of its last sweep. The sizes of a cache in each process are added.
    """
    shared = "" if cache in PROCESS_CACHES else "shared_"
    name = (f"recsys_{shared}cache_{kind}", (("cache", cache),))
    if cache in PROCESS_CACHES:
        newest = {sample.process: sample.gauges[name] for sample in loaded if name in sample.gauges}
        return int(sum(newest.values())) if newest else None
    return next((int(sample.gauges[name]) for sample in reversed(loaded) if name in sample.gauges), None)


def downsample(points: Sequence[tuple[float, int]], limit: int = 60) -> Sequence[tuple[float, int]]:
    """Return about *limit* of the points at most, including the last."""
    step = -(-len(points) // limit)
    return [*points[:-1:step], points[-1]]


def percent(part: float, whole: float) -> float | None:
    """Return the percentage that *part* is of *whole*, or None for an empty whole."""
    return round(100 * part / whole, 1) if whole else None


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def format_age(now: datetime, moment: float | None) -> str:
    """Return how long ago *moment* (Unix seconds) was, such as "5 min ago", or "never" for None."""
    if moment is None:
        return gettext("never")
    seconds = max(0, int(now.timestamp() - moment))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return gettext("{time} ago").format(time=f"{seconds // size} {unit}")
    return gettext("{time} ago").format(time=f"{seconds} s")


def register() -> None:
    """Register these panels."""
    register_panel("state", translatable("State"), state_panel, order=10)
    register_panel("traffic", translatable("Traffic and latency"), traffic_panel, order=20)
    register_panel("stages", translatable("Time by stage"), stages_panel, order=30)
    register_panel("memory", translatable("Memory"), memory_panel, order=40)
    register_panel("caches", translatable("Caches"), caches_panel, order=50)
    register_panel("queues", translatable("Queues and workers"), queues_panel, order=80)
    register_panel("maintenance", translatable("Maintenance"), maintenance_panel, order=100)
