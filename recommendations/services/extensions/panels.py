"""Dashboard panels of recommendations: engines, variants, jobs, and the last days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import F, Max, Q, Sum
from django.urls import reverse
from django.utils.translation import gettext

from monitoring.dashboard import Bars, Cell, Panel, Plot, Point, Stat, Table, register_panel
from monitoring.number_texts import decimals, grouped
from monitoring.panels import format_age, percent
from recommendations.models import FeedHour, FeedRequest, Job
from recommendations.services import wiring
from values.translation import translatable

MAX_REQUESTS = 5_000
"""Maximum number of requests read, the newest. Under load it shortens the period that the panel covers."""
ENGINES_WINDOW = timedelta(hours=1)
WEEK = timedelta(days=7)
MAX_JOBS = 10
HAS_SLATES = Q(slate_count__gt=0)
"""Without slates, the times to build one are unknown."""


def engines_panel(now: datetime) -> Panel:
    """Show the engines and the fallbacks of the last hour's feeds."""
    rows = FeedRequest.objects.filter(created_at__gte=now - ENGINES_WINDOW).order_by("-created_at")
    requests = list(rows.values_list("engine", "fallback", "duration_ms", "created_at")[:MAX_REQUESTS])
    if not requests:
        return Panel(empty_text=translatable("No feed was built in the last hour."))
    times: dict[str, list[float]] = defaultdict(list)
    fallbacks: dict[str, int] = defaultdict(int)
    for engine, fallback, duration, _ in requests:
        times[engine].append(duration)
        if fallback:
            fallbacks[fallback] += 1
    share = percent(sum(fallbacks.values()), len(requests))
    states: list[list[Cell]] = [
        [name, breaker.state(now.timestamp()).name.lower()] for name, breaker in wiring.breakers().items()
    ]
    table: list[list[Cell]] = [
        [engine, len(durations), *(round(float(np.quantile(durations, q)), 1) for q in (0.5, 0.95, 0.99))]
        for engine, durations in sorted(times.items())
    ]
    return Panel(
        stats=[
            Stat(
                translatable("feeds built"),
                len(requests),
                gettext("since {time} UTC").format(time=f"{requests[-1][3]:%H:%M}"),
            ),
            Stat(translatable("by fallback"), share, "%", "bad" if share and share > 1 else "good"),
        ],
        bars=[Bars(translatable("Fallbacks by step"), gettext("feeds"), dict(fallbacks))] if fallbacks else [],
        tables=[
            Table(
                translatable("Engines"),
                [
                    translatable("engine"),
                    translatable("feeds"),
                    translatable("p50 ms"),
                    translatable("p95 ms"),
                    translatable("p99 ms"),
                ],
                table,
            ),
            Table(translatable("Breakers of this process"), [translatable("engine"), translatable("state")], states),
        ],
    )


def variants_panel(now: datetime) -> Panel:
    """Compare the variants over the full hours of the last week."""
    hours = FeedHour.objects.filter(hour__gte=now - WEEK).order_by()
    sums = hours.values("feed", "variant").annotate(
        slates=Sum("slate_count"),
        weighted_p50_ms=Sum(F("p50_ms") * F("slate_count")),
        worst_p95_ms=Max("p95_ms", filter=HAS_SLATES),
        fallbacks=Sum("fallback_count"),
        empty=Sum("empty_count"),
        served=Sum("served_count"),
        engaged=Sum("engagement_count"),
    )
    rows: list[list[Cell]] = [
        [
            *(row["feed"], row["variant"], row["slates"], engaged_percent(row)),
            round(row["weighted_p50_ms"] / row["slates"], 1) if row["slates"] else None,
            None if row["worst_p95_ms"] is None else round(row["worst_p95_ms"], 1),
            percent(row["fallbacks"], row["slates"]),
            percent(row["empty"], row["slates"]),
            row["served"],
        ]
        for row in sums.order_by("feed", "variant")
    ]
    if not rows:
        return Panel(
            empty_text=translatable(
                "No full hour has been rolled up yet. An hour is rolled up five minutes after its end."
            )
        )
    shares = engaged_percent_by_variant(rows)
    columns = [
        translatable("feed"),
        translatable("variant"),
        translatable("slates"),
        translatable("engaged %"),
        translatable("p50 ms"),
        translatable("worst p95 ms"),
        translatable("fallback %"),
        translatable("empty %"),
        translatable("served"),
    ]
    return Panel(
        bars=[Bars(translatable("Engaged share of served posts"), "%", shares)] if len(shares) > 1 else [],
        tables=[
            Table(
                translatable("Variants, last 7 days"),
                columns,
                rows,
                reverse("admin:recommendations_feedhour_changelist"),
            )
        ],
        note=translatable("These differences are not tested for significance. See the results of the experiment."),
    )


def engaged_percent(row: Mapping[str, Any]) -> float | None:
    """Return the share of the served posts that got an engagement, in percent, or None if no post was served."""
    return round(100 * row["engaged"] / row["served"], 2) if row["served"] else None


def engaged_percent_by_variant(rows: Sequence[Sequence[Cell]]) -> dict[str, float]:
    """Return the engaged share in percent of each feed and variant with served posts."""
    return {f"{row[0]}, {row[1]}": float(row[3]) for row in rows if row[3] is not None}


def days_panel(now: datetime) -> Panel:
    """Show the last week by hour."""
    hours = FeedHour.objects.filter(hour__gte=now - WEEK).order_by()
    sums = (
        hours.values("hour")
        .annotate(pages=Sum("page_count"), slates=Sum("slate_count"), worst_p95_ms=Max("p95_ms", filter=HAS_SLATES))
        .order_by("hour")
    )
    rows = [(row["hour"].timestamp(), row) for row in sums]
    if not rows:
        return Panel(
            empty_text=translatable(
                "No full hour has been rolled up yet. An hour is rolled up five minutes after its end."
            )
        )
    counts: dict[str, list[Point]] = {
        gettext("pages served"): [(at, row["pages"]) for at, row in rows],
        gettext("slates built"): [(at, row["slates"]) for at, row in rows],
    }
    worst = [(at, round(row["worst_p95_ms"], 1)) for at, row in rows if row["worst_p95_ms"] is not None]
    return Panel(
        plots=[
            Plot(translatable("Pages and slates per hour"), "", counts),
            Plot(translatable("Worst p95 per hour"), "ms", {"p95": worst}),
        ]
    )


def jobs_panel(now: datetime) -> Panel:
    """Show the newest jobs with their progress."""
    newest = Job.objects.order_by("-created_at")[:MAX_JOBS]
    rows: list[list[Cell]] = [
        [
            job.kind,
            job.state,
            format_progress(job),
            job.failed,
            format_age(now, job.created_at.timestamp()),
            format_duration(job, now),
        ]
        for job in newest
    ]
    if not rows:
        return Panel(empty_text=translatable("No job has been submitted yet."))
    unfinished = Job.objects.filter(state__in=(Job.State.QUEUED, Job.State.RUNNING)).count()
    columns = [
        translatable("kind"),
        translatable("state"),
        translatable("progress"),
        translatable("failed"),
        translatable("submitted"),
        translatable("duration"),
    ]
    return Panel(
        stats=[Stat(translatable("unfinished jobs"), unfinished)],
        tables=[Table(translatable("Jobs"), columns, rows, reverse("admin:recommendations_job_changelist"))],
    )


def format_progress(job: Job) -> str:
    """Return the progress of a job, such as "4 of 10 (40 %)"."""
    processed = job.done + job.failed
    if not job.total:
        return gettext("no items")
    share = decimals(percent(processed, job.total), 0)
    return gettext("{n} of {total} ({share} %)").format(n=grouped(processed), total=grouped(job.total), share=share)


def format_duration(job: Job, now: datetime) -> str:
    """Return the run time of a job until its end, or until now."""
    if job.started_at is None:
        return gettext("not started")
    return f"{((job.finished_at or now) - job.started_at).total_seconds():.1f} s"


def register() -> None:
    """Register these panels."""
    register_panel("engines", translatable("Engines and fallbacks"), engines_panel, order=60)
    register_panel("variants", translatable("Variants"), variants_panel, order=70)
    register_panel("jobs", translatable("Jobs"), jobs_panel, order=90)
    register_panel("days", translatable("Last 7 days"), days_panel, order=110)
