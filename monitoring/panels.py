"""The dashboard's panels on what any service has: health, traffic, memory, caches, workers, maintenance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.urls import reverse

from monitoring import health, samples, workers
from monitoring.dashboard import Bars, Cell, Panel, Plot, Point, Stat, Table, register_panel
from monitoring.models import MaintenanceRun, MaintenanceTask
from monitoring.samples import Sample

LOOKBACK = timedelta(hours=1)
RECENT = timedelta(minutes=5)
"""What the large figures are about."""
MINUTE = 60.0
MIB = 2**20
MAX_SHOWN_RUNS = 12
PROCESS_CACHES = ("preference_vectors", "pages", "viewers", "posts")
"""Caches that every process has for itself."""
NO_SAMPLES = "Nothing was counted within the last hour. Ask for a feed, or start a job: figures follow soon."


def state_panel(now: datetime) -> Panel:
    """Show what is wrong now: readiness, queues, beat."""
    found = [*health.run_health_checks(now), *workers.check_worker_health(now)]
    wrong = [one for one in found if one.reason]
    return Panel(
        stats=[
            Stat("checks that pass", len(found) - len(wrong), f"of {len(found)}", "bad" if wrong else "good"),
        ],
        tables=[Table("What fails", ["check", "why"], [[one.name, one.reason] for one in wrong])] if wrong else [],
        note="" if wrong else "Database, Redis, kernel, catalogue, queues and beat are well.",
    )


def traffic_panel(now: datetime) -> Panel:
    """Show how many feeds were served, and how fast, fresh and cached."""
    found = samples.load_samples(now, LOOKBACK)
    if not samples.sum_increments(found, "recsys_feed_seconds_count"):
        return Panel(empty_text=NO_SAMPLES)
    lately = samples_since(found, now - RECENT)
    feeds = samples.sum_increments(lately, "recsys_feed_seconds_count", "cached")
    count = sum(feeds.values())
    answers = samples.sum_increments(lately, "django_http_responses_total_by_status_total", "status")
    errors = sum(value for (status,), value in answers.items() if status.startswith("5"))
    minutes = group_by_minute(found, now)
    return Panel(
        stats=[
            Stat("feeds a minute", round(count / (RECENT.total_seconds() / MINUTE), 1)),
            Stat("p50", milliseconds(samples.histogram_quantile(lately, "recsys_feed_seconds", 0.5)), "ms"),
            Stat("p95", milliseconds(samples.histogram_quantile(lately, "recsys_feed_seconds", 0.95)), "ms"),
            Stat("from the cache", percent(feeds["true",], count), "%"),
            Stat("answers 5xx", percent(errors, sum(answers.values())), "%", "bad" if errors else ""),
        ],
        plots=[
            Plot(
                "Feeds a minute",
                "",
                {
                    name: [
                        (at, samples.sum_increments(part, "recsys_feed_seconds_count", "cached")[cached,])
                        for at, part in minutes
                    ]
                    for name, cached in (("fresh", "false"), ("cached", "true"))
                },
            ),
            Plot(
                "Time of a feed in the service",
                "ms",
                {f"p{int(q * 100)}": quantile_line(minutes, q) for q in (0.5, 0.95)},
            ),
        ],
        note=f"Large figures: the last {RECENT.seconds // 60} minutes.",
    )


def stages_panel(now: datetime) -> Panel:
    """Show where the time of a fresh feed goes, and what each part brings or drops."""
    found = samples.load_samples(now, LOOKBACK)
    seconds = samples.sum_increments(found, "recsys_stage_seconds_sum", "stage", "component")
    calls = samples.sum_increments(found, "recsys_stage_seconds_count", "stage", "component")
    if not calls:
        return Panel(empty_text="No feed was made within the last hour: cached ones pass no stage.")
    brought = samples.sum_increments(found, "recsys_source_candidates_total", "source")
    dropped = samples.sum_increments(found, "recsys_filter_drops_total", "filter")
    means = {key: seconds[key] / calls[key] * 1000 for key in calls}
    per_stage: dict[str, float] = defaultdict(float)
    for (stage, _), mean in means.items():
        per_stage[stage] += mean
    rows: list[list[Cell]] = [
        [
            *(stage, part, round(means[stage, part], 3), calls[stage, part]),
            round(brought[part,] / calls[stage, part], 1) if stage == "source" else None,
            round(dropped[part,] / calls[stage, part], 1) if stage == "filter" else None,
        ]
        for stage, part in sorted(means, key=lambda key: -means[key])
    ]
    columns = ["stage", "part", "mean ms", "calls", "candidates a call", "dropped a call"]
    return Panel(
        bars=[
            Bars("Mean time by stage, last hour", "ms", {stage: round(mean, 3) for stage, mean in per_stage.items()})
        ],
        tables=[Table("Parts of the stages", columns, rows)],
    )


def memory_panel(now: datetime) -> Panel:
    """Show what each process holds, over the last hour."""
    found = samples.memory_by_process(samples.load_samples(now, LOOKBACK))
    if not found:
        return Panel(empty_text=NO_SAMPLES)
    there = {
        process: points
        for process, points in found.items()
        if now.timestamp() - points[-1][0] <= RECENT.total_seconds()
    }
    held = sum(points[-1][1] for points in there.values())
    largest = sorted(found, key=lambda process: -max(size for _, size in found[process]))[:6]
    return Panel(
        stats=[
            Stat("processes that worked lately", len(there)),
            Stat("held by them", round(held / MIB), "MiB"),
        ],
        plots=[
            Plot(
                "Memory of the largest processes",
                "MiB",
                {
                    process: [(at, round(size / MIB, 1)) for at, size in downsample(found[process])]
                    for process in largest
                },
            )
        ],
    )


def caches_panel(now: datetime) -> Panel:
    """Show what each cache holds, and how often it had what was asked for."""
    found = samples.load_samples(now, LOOKBACK)
    asked = samples.sum_increments(found, "recsys_cache_requests_total", "cache", "outcome")
    if not asked:
        return Panel(empty_text=NO_SAMPLES)
    names = sorted({cache for cache, _ in asked})
    rows: list[list[Cell]] = []
    for cache in names:
        hit, stale, miss = (asked[cache, outcome] for outcome in ("hit", "stale", "miss"))
        entries, size = (cache_size(found, kind, cache) for kind in ("entries", "bytes"))
        rows.append([cache, percent(hit + stale, hit + stale + miss), hit, stale, miss, entries, size])
    minutes = group_by_minute(found, now, interval=5 * MINUTE)
    return Panel(
        plots=[Plot("Hits, of all that was asked", "%", {cache: hit_rate_line(minutes, cache) for cache in names})],
        tables=[Table("Caches, last hour", ["cache", "hit %", "hits", "stale", "misses", "entries", "bytes"], rows)],
    )


def queues_panel(now: datetime) -> Panel:
    """Show who works and what waits."""
    found = workers.read_workers_state(now)
    ages = [
        [one.name, ", ".join(one.queues), format_age(now, one.seen_at), format_age(now, one.started_at)]
        for one in found.workers
    ]
    return Panel(
        stats=[
            Stat("workers", len(found.workers), "", "" if found.workers else "bad"),
            Stat("tasks that wait", sum(queue.waiting_count for queue in found.queues)),
            Stat("beat", "there" if found.has_beat else "not there", "", "" if found.has_beat else "bad"),
        ],
        tables=[
            Table(
                "Queues",
                ["queue", "waiting", "workers", "canary came through", "state"],
                [
                    [
                        one.name,
                        one.waiting_count,
                        len(one.workers),
                        format_age(now, one.canary_at),
                        "fails" if one.reason else "works",
                    ]
                    for one in found.queues
                ],
            ),
            Table("Workers", ["worker", "queues", "last word", "began"], ages),
        ],
        note=f"Lost without a farewell: {', '.join(found.lost_workers)}." if found.lost_workers else "",
    )


def maintenance_panel(now: datetime) -> Panel:
    """Show what ran by the clock."""
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
        return Panel(empty_text="Nothing ran yet. Beat asks for the first duty within five minutes.")
    return Panel(
        stats=[
            Stat("failed or lost within a day", failed, "", "bad" if failed else "good"),
            Stat("running", ", ".join(running) or "none"),
        ],
        tables=[
            Table(
                "Runs",
                ["duty", "outcome", "began", "seconds", "rows", "what it said"],
                rows,
                reverse("admin:monitoring_maintenancerun_changelist"),
            )
        ],
    )


# Figures


def samples_since(found: Sequence[Sample], moment: datetime) -> list[Sample]:
    return [one for one in found if one.at >= moment.timestamp()]


def group_by_minute(
    found: Sequence[Sample], now: datetime, *, interval: float = MINUTE
) -> list[tuple[float, list[Sample]]]:
    """
    Return the samples of each minute, or *every* so many seconds; empty ones between the first and last too.

    The one that runs is left out, since it would look like a fall, unless there is no other.
    """
    whole = [one for one in found if one.at < now.timestamp() // interval * interval]
    found = whole or found
    if not found:
        return []
    parts: dict[int, list[Sample]] = defaultdict(list)
    for one in found:
        parts[int(one.at // interval)].append(one)
    return [(number * interval, parts.get(number, [])) for number in range(min(parts), max(parts) + 1)]


def quantile_line(minutes: Sequence[tuple[float, list[Sample]]], q: float) -> list[Point]:
    """Return the quantile of each minute in which feeds were served, in ms."""
    line = ((at, samples.histogram_quantile(part, "recsys_feed_seconds", q)) for at, part in minutes)
    return [(at, round(value * 1000, 2)) for at, value in line if value is not None]


def hit_rate_line(minutes: Sequence[tuple[float, list[Sample]]], cache: str) -> list[Point]:
    """Return the share of hits, in percent, wherever the cache was asked."""
    line: list[Point] = []
    for at, part in minutes:
        asked = samples.sum_increments(part, "recsys_cache_requests_total", "cache", "outcome")
        counts = {outcome: asked[cache, outcome] for outcome in ("hit", "stale", "miss")}
        if sum(counts.values()):
            line.append((at, percent(counts["hit"] + counts["stale"], sum(counts.values()))))
    return line


def cache_size(found: Sequence[Sample], kind: str, cache: str) -> int | None:
    """
    Return what a cache holds; None if nobody said.

    Of a shared one whoever swept it last knows; of one that each process has, all are added up.
    """
    shared = "" if cache in PROCESS_CACHES else "shared_"
    name = (f"recsys_{shared}cache_{kind}", (("cache", cache),))
    said = {one.process: one.gauges[name] for one in found if name in one.gauges}
    if cache in PROCESS_CACHES:
        return int(sum(said.values()))
    return next((int(one.gauges[name]) for one in reversed(found) if name in one.gauges), None)


def downsample(points: Sequence[tuple[float, int]], limit: int = 60) -> Sequence[tuple[float, int]]:
    """Return at most about *most* of the points, the last among them."""
    step = -(-len(points) // limit)
    return [*points[:-1:step], points[-1]]


def percent(some: float, of_all: float) -> float:
    return round(100 * some / of_all, 1) if of_all else 0.0


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def format_age(now: datetime, moment: float | None) -> str:
    """Return how long ago a moment (Unix seconds) was, in words."""
    if moment is None:
        return "never"
    seconds = max(0, int(now.timestamp() - moment))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def register_panels() -> None:
    """Show these."""
    register_panel("state", "State", state_panel, order=10)
    register_panel("traffic", "Traffic and latency", traffic_panel, order=20)
    register_panel("stages", "Time by stage", stages_panel, order=30)
    register_panel("memory", "Memory", memory_panel, order=40)
    register_panel("caches", "Caches", caches_panel, order=50)
    register_panel("queues", "Queues and workers", queues_panel, order=80)
    register_panel("maintenance", "Maintenance", maintenance_panel, order=100)
