"""The dashboard's panels on what any service has: health, traffic, memory, caches, workers, maintenance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.urls import reverse

from monitoring import health, samples, workers
from monitoring.dashboard import Bars, Cell, Figure, Panel, Plot, Point, Table, register
from monitoring.models import MaintenanceDuty, MaintenanceRun
from monitoring.samples import Sample

BACK = timedelta(hours=1)
LATELY = timedelta(minutes=5)
"""What the large figures are about."""
MINUTE = 60.0
MIB = 2**20
RUNS_SHOWN = 12
EACH_PROCESS = ("preference_vectors", "pages", "viewers", "posts")
"""Caches that every process has for itself."""
NOTHING_SAMPLED = "Nothing was counted within the last hour. Ask for a feed, or start a job: figures follow soon."


def state(now: datetime) -> Panel:
    """Show what is wrong now: readiness, queues, beat."""
    found = [*health.findings(now), *workers.findings(now)]
    wrong = [one for one in found if one.reason]
    return Panel(
        figures=[
            Figure("checks that pass", len(found) - len(wrong), f"of {len(found)}", "bad" if wrong else "good"),
        ],
        tables=[Table("What fails", ["check", "why"], [[one.name, one.reason] for one in wrong])] if wrong else [],
        note="" if wrong else "Database, Redis, kernel, catalogue, queues and beat are well.",
    )


def traffic(now: datetime) -> Panel:
    """Show how many feeds were served, and how fast, fresh and cached."""
    found = samples.read(now, BACK)
    if not samples.total(found, "recsys_feed_seconds_count"):
        return Panel(empty=NOTHING_SAMPLED)
    lately = since(found, now - LATELY)
    feeds = samples.total(lately, "recsys_feed_seconds_count", "cached")
    count = sum(feeds.values())
    answers = samples.total(lately, "django_http_responses_total_by_status_total", "status")
    errors = sum(value for (status,), value in answers.items() if status.startswith("5"))
    minutes = by_minute(found, now)
    return Panel(
        figures=[
            Figure("feeds a minute", round(count / (LATELY.total_seconds() / MINUTE), 1)),
            Figure("p50", milliseconds(samples.quantile(lately, "recsys_feed_seconds", 0.5)), "ms"),
            Figure("p95", milliseconds(samples.quantile(lately, "recsys_feed_seconds", 0.95)), "ms"),
            Figure("from the cache", percent(feeds["true",], count), "%"),
            Figure("answers 5xx", percent(errors, sum(answers.values())), "%", "bad" if errors else ""),
        ],
        plots=[
            Plot(
                "Feeds a minute",
                "",
                {
                    name: [
                        (at, samples.total(part, "recsys_feed_seconds_count", "cached")[cached,])
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
        note=f"Large figures: the last {LATELY.seconds // 60} minutes.",
    )


def stages(now: datetime) -> Panel:
    """Show where the time of a fresh feed goes, and what each part brings or drops."""
    found = samples.read(now, BACK)
    seconds = samples.total(found, "recsys_stage_seconds_sum", "stage", "part")
    calls = samples.total(found, "recsys_stage_seconds_count", "stage", "part")
    if not calls:
        return Panel(empty="No feed was made within the last hour: cached ones pass no stage.")
    brought = samples.total(found, "recsys_candidates_total", "part")
    dropped = samples.total(found, "recsys_dropped_total", "filter")
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


def memory(now: datetime) -> Panel:
    """Show what each process holds, over the last hour."""
    found = samples.memory_of(samples.read(now, BACK))
    if not found:
        return Panel(empty=NOTHING_SAMPLED)
    there = {
        process: points
        for process, points in found.items()
        if now.timestamp() - points[-1][0] <= LATELY.total_seconds()
    }
    held = sum(points[-1][1] for points in there.values())
    largest = sorted(found, key=lambda process: -max(size for _, size in found[process]))[:6]
    return Panel(
        figures=[
            Figure("processes that worked lately", len(there)),
            Figure("held by them", round(held / MIB), "MiB"),
        ],
        plots=[
            Plot(
                "Memory of the largest processes",
                "MiB",
                {process: [(at, round(size / MIB, 1)) for at, size in thinned(found[process])] for process in largest},
            )
        ],
    )


def caches(now: datetime) -> Panel:
    """Show what each cache holds, and how often it had what was asked for."""
    found = samples.read(now, BACK)
    asked = samples.total(found, "recsys_cache_requests_total", "cache", "outcome")
    if not asked:
        return Panel(empty=NOTHING_SAMPLED)
    names = sorted({cache for cache, _ in asked})
    rows: list[list[Cell]] = []
    for cache in names:
        hit, stale, miss = (asked[cache, outcome] for outcome in ("hit", "stale", "miss"))
        entries, size = (holding(found, kind, cache) for kind in ("entries", "bytes"))
        rows.append([cache, percent(hit + stale, hit + stale + miss), hit, stale, miss, entries, size])
    minutes = by_minute(found, now, every=5 * MINUTE)
    return Panel(
        plots=[Plot("Hits, of all that was asked", "%", {cache: hit_line(minutes, cache) for cache in names})],
        tables=[Table("Caches, last hour", ["cache", "hit %", "hits", "stale", "misses", "entries", "bytes"], rows)],
    )


def queues(now: datetime) -> Panel:
    """Show who works and what waits."""
    found = workers.state(now)
    ages = [[one.name, ", ".join(one.queues), ago(now, one.at), ago(now, one.started)] for one in found.workers]
    return Panel(
        figures=[
            Figure("workers", len(found.workers), "", "" if found.workers else "bad"),
            Figure("tasks that wait", sum(queue.waiting for queue in found.queues)),
            Figure("beat", "there" if found.beat else "not there", "", "" if found.beat else "bad"),
        ],
        tables=[
            Table(
                "Queues",
                ["queue", "waiting", "workers", "canary came through", "state"],
                [
                    [
                        one.name,
                        one.waiting,
                        len(one.workers),
                        ago(now, one.canary_at),
                        "fails" if one.reason else "works",
                    ]
                    for one in found.queues
                ],
            ),
            Table("Workers", ["worker", "queues", "last word", "began"], ages),
        ],
        note=f"Lost without a farewell: {', '.join(found.lost)}." if found.lost else "",
    )


def maintenance(now: datetime) -> Panel:
    """Show what ran by the clock."""
    runs = MaintenanceRun.objects.all()
    failed = runs.filter(started_at__gte=now - timedelta(days=1)).exclude(outcome=MaintenanceRun.Outcome.DONE).count()
    running = list(MaintenanceDuty.objects.filter(is_running=True).values_list("name", flat=True))
    rows: list[list[Cell]] = [
        [
            run.name,
            run.outcome,
            ago(now, run.started_at.timestamp()),
            round(run.seconds, 3),
            run.rows,
            run.note or run.error,
        ]
        for run in runs[:RUNS_SHOWN]
    ]
    if not rows and not running:
        return Panel(empty="Nothing ran yet. Beat asks for the first duty within five minutes.")
    return Panel(
        figures=[
            Figure("failed or lost within a day", failed, "", "bad" if failed else "good"),
            Figure("running", ", ".join(running) or "none"),
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


def since(found: Sequence[Sample], moment: datetime) -> list[Sample]:
    return [one for one in found if one.at >= moment.timestamp()]


def by_minute(found: Sequence[Sample], now: datetime, *, every: float = MINUTE) -> list[tuple[float, list[Sample]]]:
    """
    Return the samples of each minute, or *every* so many seconds; empty ones between the first and last too.

    The one that runs is left out, since it would look like a fall, unless there is no other.
    """
    whole = [one for one in found if one.at < now.timestamp() // every * every]
    found = whole or found
    if not found:
        return []
    parts: dict[int, list[Sample]] = defaultdict(list)
    for one in found:
        parts[int(one.at // every)].append(one)
    return [(number * every, parts.get(number, [])) for number in range(min(parts), max(parts) + 1)]


def quantile_line(minutes: Sequence[tuple[float, list[Sample]]], q: float) -> list[Point]:
    """Return the quantile of each minute in which feeds were served, in ms."""
    line = ((at, samples.quantile(part, "recsys_feed_seconds", q)) for at, part in minutes)
    return [(at, round(value * 1000, 2)) for at, value in line if value is not None]


def hit_line(minutes: Sequence[tuple[float, list[Sample]]], cache: str) -> list[Point]:
    """Return the share of hits, in percent, wherever the cache was asked."""
    line: list[Point] = []
    for at, part in minutes:
        asked = samples.total(part, "recsys_cache_requests_total", "cache", "outcome")
        counts = {outcome: asked[cache, outcome] for outcome in ("hit", "stale", "miss")}
        if sum(counts.values()):
            line.append((at, percent(counts["hit"] + counts["stale"], sum(counts.values()))))
    return line


def holding(found: Sequence[Sample], kind: str, cache: str) -> int | None:
    """
    Return what a cache holds; None if nobody said.

    Of a shared one whoever swept it last knows; of one that each process has, all are added up.
    """
    shared = "" if cache in EACH_PROCESS else "shared_"
    name = (f"recsys_{shared}cache_{kind}", (("cache", cache),))
    said = {one.process: one.held[name] for one in found if name in one.held}
    if cache in EACH_PROCESS:
        return int(sum(said.values()))
    return next((int(one.held[name]) for one in reversed(found) if name in one.held), None)


def thinned(points: Sequence[tuple[float, int]], most: int = 60) -> Sequence[tuple[float, int]]:
    """Return at most about *most* of the points, the last among them."""
    step = -(-len(points) // most)
    return [*points[:-1:step], points[-1]]


def percent(some: float, of_all: float) -> float:
    return round(100 * some / of_all, 1) if of_all else 0.0


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def ago(now: datetime, moment: float | None) -> str:
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
    register("state", "State", state, place=10)
    register("traffic", "Traffic and latency", traffic, place=20)
    register("stages", "Time by stage", stages, place=30)
    register("memory", "Memory", memory, place=40)
    register("caches", "Caches", caches, place=50)
    register("queues", "Queues and workers", queues, place=80)
    register("maintenance", "Maintenance", maintenance, place=100)
