"""What is known of an experiment, as plain data: for the page, the API and files."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from flags.documents import format_timestamp
from flags.models import Experiment, ExperimentResult, InterimAnalysis

LIFT_HISTORY_LENGTH = 60
"""Looks that are shown as a line, the newest."""
SAMPLE_RATIO_ALPHA = 0.001
"""
Below this chance the split is not the one that was asked for, and nothing else may be believed. It is small because the
check is made every night.
"""
RESULT_NUMBERS = (
    *("control_units", "units", "control_mean", "mean", "difference", "fixed_low", "fixed_high", "fixed_p"),
    *("anytime_low", "anytime_high", "anytime_p", "adjusted_p", "lift", "lift_low", "lift_high"),
    *("chance_better", "expected_loss", "remaining_variance_ratio"),
)


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One comparison with the control."""

    metric: str
    description: str
    is_goal: bool
    is_guardrail: bool
    higher_is_better: bool
    variant: str
    slice_label: str
    verdict: str
    numbers: dict[str, float | None]
    """By the names of `NUMBERS`; means are the metric's own, lifts are parts of the control's mean."""


@dataclass(frozen=True, slots=True)
class LiftPoint:
    """The goal's lift of one variant, as one look had it."""

    analyzed_at: datetime
    variant: str
    lift: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known; without a look yet only what was planned."""

    experiment: str
    flag: str
    hypothesis: str
    state: str
    decision: str
    decision_reason: str
    started_at: datetime | None
    finished_at: datetime | None
    goal: str
    minimum_effect: float
    analyzed_at: datetime | None = None
    phase: int = 0
    units: dict[str, int] = field(default_factory=dict)
    daily_units: dict[str, dict[str, int]] = field(default_factory=dict)
    sample_ratio_p: float = 1.0
    needed_units: float | None = None
    days_left: float | None = None
    comparisons: list[ComparisonRow] = field(default_factory=list)
    lift_history: list[LiftPoint] = field(default_factory=list)

    @property
    def has_sample_ratio_mismatch(self) -> bool:
        """Return whether the units are not split as was asked for."""
        return self.sample_ratio_p < SAMPLE_RATIO_ALPHA


def build_report(experiment: Experiment) -> Report:
    """Return what the newest look and those before it say."""
    planned: dict[str, Any] = {
        "experiment": experiment.key,
        "flag": experiment.flag.key,
        "hypothesis": experiment.hypothesis,
        "state": experiment.state,
        "decision": experiment.decision,
        "decision_reason": experiment.decision_reason,
        "started_at": experiment.started_at,
        "finished_at": experiment.finished_at,
        "goal": experiment.goal.key if experiment.goal else "",
        "minimum_effect": experiment.minimum_effect,
    }
    snapshot = experiment.interim_analyses.first()
    if snapshot is None:
        return Report(**planned)
    return Report(
        **planned,
        analyzed_at=snapshot.analyzed_at,
        phase=snapshot.phase_number,
        units=snapshot.units,
        daily_units=snapshot.daily_units,
        sample_ratio_p=snapshot.sample_ratio_p,
        needed_units=snapshot.needed_units,
        days_left=snapshot.days_left,
        comparisons=[build_comparison_row(row, experiment) for row in snapshot.results.select_related("metric")],
        lift_history=load_lift_history(experiment, snapshot),
    )


def build_comparison_row(row: ExperimentResult, experiment: Experiment) -> ComparisonRow:
    """Return one result as a line."""
    return ComparisonRow(
        metric=row.metric.key,
        description=row.metric.description,
        is_goal=row.metric_id == experiment.goal_id,
        is_guardrail=row.metric.is_guardrail,
        higher_is_better=row.metric.higher_is_better,
        variant=row.variant,
        slice_label=row.slice_label,
        verdict=row.verdict,
        numbers={name: getattr(row, name) for name in RESULT_NUMBERS},
    )


def load_lift_history(experiment: Experiment, latest_analysis: InterimAnalysis) -> list[LiftPoint]:
    """Return the goal's lift at each look of the newest one's phase, the oldest first."""
    shown = experiment.interim_analyses.filter(phase_number=latest_analysis.phase_number).values_list("pk", flat=True)[
        :LIFT_HISTORY_LENGTH
    ]
    rows = ExperimentResult.objects.filter(
        interim_analysis__in=list(shown), metric=experiment.goal, slice_label="", lift__isnull=False
    )
    return [
        LiftPoint(row.interim_analysis.analyzed_at, row.variant, row.lift, row.lift_low, row.lift_high)
        for row in rows.select_related("interim_analysis").order_by("interim_analysis__analyzed_at", "pk")
        if row.lift is not None and row.lift_low is not None and row.lift_high is not None
    ]


def report_to_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON has it."""
    found = asdict(report)
    for name in ("started_at", "finished_at", "analyzed_at"):
        found[name] = format_timestamp(found[name])
    found["lift_history"] = [
        point | {"analyzed_at": format_timestamp(point["analyzed_at"])} for point in found["lift_history"]
    ]
    return found | {"has_sample_ratio_mismatch": report.has_sample_ratio_mismatch}


def report_to_csv(report: Report) -> str:
    """Return the comparisons as a table, a line each."""
    output = io.StringIO()
    table = csv.writer(output)
    table.writerow(
        ["experiment", "analyzed_at", "phase", "metric", "variant", "slice_label", "verdict", *RESULT_NUMBERS]
    )
    for line in report.comparisons:
        head = [
            report.experiment,
            format_timestamp(report.analyzed_at),
            report.phase,
            line.metric,
            line.variant,
            line.slice_label,
        ]
        table.writerow([*head, line.verdict, *(line.numbers[name] for name in RESULT_NUMBERS)])
    return output.getvalue()
