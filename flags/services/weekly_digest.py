"""A weekly digest of experiments: for each its state, its latest results and what needs attention."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from flags.experiments.report import SAMPLE_RATIO_ALPHA
from flags.models import Experiment, ExperimentResult, InterimAnalysis

LONG_RUNNING = timedelta(days=60)
WEEK = timedelta(days=7)


def build_weekly_digest(*, now: datetime) -> list[str]:
    """Return one line for each experiment that is running, paused, or was finished this week."""
    is_active = Q(state__in=[Experiment.State.RUNNING, Experiment.State.PAUSED])
    rows = Experiment.objects.filter(is_active | Q(finished_at__gte=now - WEEK)).select_related("goal")
    return [digest_line(row, now) for row in rows]


def digest_line(experiment: Experiment, now: datetime) -> str:
    """Return the line of one experiment."""
    if experiment.state == Experiment.State.FINISHED:
        decision = f"decision: {experiment.decision}" if experiment.decision else "without a decision"
        return f"{experiment.key}: finished, {decision}."
    since = experiment.started_at or now
    parts = [f"{experiment.key}: {Experiment.State(experiment.state).label.lower()} for {(now - since).days} days"]
    analysis = experiment.interim_analyses.first()
    parts += [] if analysis is None else describe_latest_analysis(experiment, analysis)
    if analysis is None or now - analysis.analyzed_at > timedelta(days=2):
        parts.append("NOT ANALYZED for two days")
    if now - since > LONG_RUNNING:
        parts.append("running for more than 60 days: decide")
    return "; ".join(parts) + "."


def describe_latest_analysis(experiment: Experiment, analysis: InterimAnalysis) -> list[str]:
    """Return the findings of the latest analysis, problems first."""
    parts = [f"{sum(analysis.units.values()):,} units"]
    if analysis.sample_ratio_p < SAMPLE_RATIO_ALPHA:
        parts.append(f"SAMPLE RATIO MISMATCH (p {analysis.sample_ratio_p:.2g}): do not use the results")
    results = list(analysis.results.filter(slice_label="").select_related("metric"))
    parts += [
        f"WORSE on {row.metric.key}: {row.variant}" for row in results if row.verdict == ExperimentResult.Verdict.WORSE
    ]
    parts += [
        f"{row.variant} {row.lift:+.1%} ({row.lift_low:+.1%} to {row.lift_high:+.1%}) on {row.metric.key}"
        for row in results
        if row.metric_id == experiment.goal_id and None not in (row.lift, row.lift_low, row.lift_high)
    ]
    if analysis.days_left:
        parts.append(f"about {analysis.days_left:.0f} days left")
    return parts
