"""The week's experiments in a few lines each: what runs, how it stands, and what somebody should look at."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from flags.experiments.report import SAMPLE_RATIO_ALPHA
from flags.models import Experiment, ExperimentResult, InterimAnalysis

LONG_RUNNING = timedelta(days=60)
WEEK = timedelta(days=7)


def build_weekly_digest(*, now: datetime) -> list[str]:
    """Return a line for each experiment that runs, is paused, or was finished this week."""
    open_ones = Q(state__in=[Experiment.State.RUNNING, Experiment.State.PAUSED])
    rows = Experiment.objects.filter(open_ones | Q(finished_at__gte=now - WEEK)).select_related("goal")
    return [digest_line(row, now) for row in rows]


def digest_line(experiment: Experiment, now: datetime) -> str:
    """Return one experiment's line."""
    if experiment.state == Experiment.State.FINISHED:
        decided = f"decided for {experiment.decision}" if experiment.decision else "without a decision"
        return f"{experiment.key}: finished, {decided}."
    since = experiment.started_at or now
    told = [f"{experiment.key}: {experiment.get_state_display().lower()} for {(now - since).days} days"]
    snapshot = experiment.snapshots.first()
    told += [] if snapshot is None else describe_latest_analysis(experiment, snapshot)
    if snapshot is None or now - snapshot.analyzed_at > timedelta(days=2):
        told.append("NOT LOOKED AT for two days")
    if now - since > LONG_RUNNING:
        told.append("runs longer than 60 days: decide")
    return "; ".join(told) + "."


def describe_latest_analysis(experiment: Experiment, analysis: InterimAnalysis) -> list[str]:
    """Return what the newest look says, the worrying first."""
    told = [f"{sum(analysis.units.values()):,} units"]
    if analysis.sample_ratio_p < SAMPLE_RATIO_ALPHA:
        told.append(f"WRONG SPLIT (p {analysis.sample_ratio_p:.2g}): do not believe the results")
    results = list(analysis.results.filter(slice_label="").select_related("metric"))
    told += [
        f"WORSE on {row.metric.key}: {row.variant}" for row in results if row.verdict == ExperimentResult.Verdict.WORSE
    ]
    told += [
        f"{row.variant} {row.lift:+.1%} ({row.lift_low:+.1%} to {row.lift_high:+.1%}) on {row.metric.key}"
        for row in results
        if row.metric_id == experiment.goal_id and None not in (row.lift, row.lift_low, row.lift_high)
    ]
    if analysis.days_left:
        told.append(f"about {analysis.days_left:.0f} days still")
    return told
