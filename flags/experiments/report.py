"""The report of an experiment as plain data, for the admin page, the API and the CSV and JSON files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from flags.documents import format_timestamp
from flags.experiments import metric_sources
from flags.models import Experiment, ExperimentResult, InterimAnalysis
from monitoring.csv_lines import csv_line

LIFT_HISTORY_LENGTH = 60
"""Number of interim analyses in the lift history: the newest ones."""
SAMPLE_RATIO_ALPHA = 0.001
"""
Below this p-value the sample ratio does not match the configured weights, and the results must not be used. The
threshold is low because the check runs every night.
"""
RESULT_NUMBERS = (
    *("control_units", "units", "control_mean", "mean", "difference", "fixed_low", "fixed_high", "fixed_p"),
    *("anytime_low", "anytime_high", "anytime_p", "adjusted_p", "lift", "lift_low", "lift_high"),
    *("chance_better", "expected_loss", "remaining_variance_ratio"),
)


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """The comparison of one variant with the control, for one metric and slice."""

    metric: str
    description: str
    is_goal: bool
    is_guardrail: bool
    higher_is_better: bool
    variant: str
    slice_label: str
    verdict: str
    numbers: dict[str, float | None]
    """`RESULT_NUMBERS` by name. Means are in the metric's unit; lifts are fractions of the control's mean."""


@dataclass(frozen=True, slots=True)
class LiftPoint:
    """The goal's lift of one variant at one interim analysis."""

    analyzed_at: datetime
    variant: str
    lift: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Report:
    """The report of an experiment. Before the first analysis it has only the plan."""

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
    reachable_units: float | None = None
    """The units that the experiment can expose at most; None if unknown."""
    expected_shares: dict[str, float] = field(default_factory=dict)
    """The share of the units, 0 to 1, that each variant should have by the weights of the analyzed phase."""
    window_days: int = 0
    """The days after its exposure for which a unit counts for the goal."""
    late_event_share: float | None = None
    """The share of the newest events, 0 to 1, that arrived more than a day late; None without events."""
    comparisons: list[ComparisonRow] = field(default_factory=list)
    lift_history: list[LiftPoint] = field(default_factory=list)

    @property
    def is_out_of_reach(self) -> bool:
        """Return whether more units are needed than there are, so that waiting does not help."""
        return None not in (self.needed_units, self.reachable_units) and self.needed_units > self.reachable_units  # type: ignore[operator]

    @property
    def has_sample_ratio_mismatch(self) -> bool:
        """Return whether the units per variant differ significantly from the configured weights."""
        return self.sample_ratio_p < SAMPLE_RATIO_ALPHA


def build_report(experiment: Experiment) -> Report:
    """Return the report from the latest analysis and the lift history."""
    plan: dict[str, Any] = {
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
    analysis = experiment.interim_analyses.first()
    if analysis is None:
        return Report(**plan)
    return Report(
        **plan,
        analyzed_at=analysis.analyzed_at,
        phase=analysis.phase_number,
        units=analysis.units,
        daily_units=analysis.daily_units,
        sample_ratio_p=analysis.sample_ratio_p,
        needed_units=analysis.needed_units,
        days_left=analysis.days_left,
        reachable_units=count_reachable_units(experiment),
        expected_shares=load_expected_shares(experiment, analysis),
        window_days=experiment.goal.window_days if experiment.goal else 0,
        late_event_share=measure_lateness(experiment),
        comparisons=[build_comparison_row(row, experiment) for row in analysis.results.select_related("metric")],
        lift_history=load_lift_history(experiment, analysis),
    )


def count_reachable_units(experiment: Experiment) -> float | None:
    """Return how many units the experiment can expose at most; None if no app counts them."""
    total = metric_sources.count_units(experiment.unit)
    return None if total is None else total * experiment.traffic_percentage / 100


def load_expected_shares(experiment: Experiment, analysis: InterimAnalysis) -> dict[str, float]:
    """Return the share of each variant in the analyzed phase."""
    phase = experiment.phases.filter(number=analysis.phase_number).first()
    return {arm["key"]: arm["share"] for arm in phase.variants} if phase else {}


def measure_lateness(experiment: Experiment) -> float | None:
    """Return the share of late events since the start in the goal's source, or None if it has none."""
    if experiment.goal is None or experiment.started_at is None:
        return None
    return metric_sources.measure_lateness(experiment.goal.source, experiment.started_at)


def build_comparison_row(row: ExperimentResult, experiment: Experiment) -> ComparisonRow:
    """Return one result as a comparison row."""
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
    """Return the goal's lift at each analysis of the latest analysis's phase, oldest first."""
    newest_ids = experiment.interim_analyses.filter(phase_number=latest_analysis.phase_number).values_list(
        "pk", flat=True
    )[:LIFT_HISTORY_LENGTH]
    rows = ExperimentResult.objects.filter(
        interim_analysis__in=list(newest_ids), metric=experiment.goal, slice_label="", lift__isnull=False
    )
    return [
        LiftPoint(row.interim_analysis.analyzed_at, row.variant, row.lift, row.lift_low, row.lift_high)
        for row in rows.select_related("interim_analysis").order_by("interim_analysis__analyzed_at", "pk")
        if row.lift is not None and row.lift_low is not None and row.lift_high is not None
    ]


def report_to_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON data."""
    data = asdict(report)
    for name in ("started_at", "finished_at", "analyzed_at"):
        data[name] = format_timestamp(data[name])
    data["lift_history"] = [
        point | {"analyzed_at": format_timestamp(point["analyzed_at"])} for point in data["lift_history"]
    ]
    return data | {"has_sample_ratio_mismatch": report.has_sample_ratio_mismatch}


CSV_COLUMNS = ("experiment", "analyzed_at", "phase", "metric", "variant", "slice_label", "verdict", *RESULT_NUMBERS)


def report_to_csv(report: Report) -> str:
    """Return the comparisons as CSV, one row each."""
    lines = [csv_line(CSV_COLUMNS)]
    for row in report.comparisons:
        labels = [
            report.experiment,
            format_timestamp(report.analyzed_at),
            report.phase,
            row.metric,
            row.variant,
            row.slice_label,
        ]
        lines.append(csv_line([*labels, row.verdict, *(row.numbers[name] for name in RESULT_NUMBERS)]))
    return "".join(lines)
