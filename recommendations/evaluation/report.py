"""Reports of an evaluation: as columns of numbers, as a table of plain text, and as JSON. `report_page` adds HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommendations.evaluation.folds import Fold, count_cases, join_members
from recommendations.evaluation.intervals import DRAWS, compare_paired, compute_interval
from recommendations.evaluation.measure import METRICS, Measured, measure_slice
from recommendations.evaluation.slices import Slice

MAIN, COMPARED = "ndcg", ("hit_rate", "ndcg")
"""The metric that the best peer is selected by, and those that systems are compared by."""
SHOWN_WITH_LIMITS = ("hit_rate", "ndcg")
"""Metrics whose intervals the table of plain text shows."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The value of a metric with the limits of its 95 % interval. Metrics of all lists together have no limits."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A system minus the best peer, on the same cases, with the limits of its 95 % interval."""

    value: float
    low: float
    high: float
    excludes_zero: bool


@dataclass(frozen=True, slots=True)
class SystemReport:
    """The figures of one system, by key of the metric."""

    name: str
    is_peer: bool
    note: str
    figures: dict[str, Figure]
    differences: dict[str, Difference]
    """To the best peer, by key of the metric. Empty for the best peer itself."""


@dataclass(frozen=True, slots=True)
class SliceReport:
    """The figures of every system on a slice of the cases: by name of the system, then by key of the metric."""

    group: str
    label: str
    case_count: int
    figures: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class SetReport:
    """The evaluation of several systems on the same cases."""

    name: str
    description: str
    case_count: int
    member_count: int
    fold_count: int
    best_peer: str
    """The peer with the highest NDCG; empty without peers."""
    systems: list[SystemReport]
    slices: list[SliceReport]


def build_report(
    name: str,
    description: str,
    folds: Sequence[Fold],
    measured: Sequence[Measured],
    slices: Sequence[Slice],
    *,
    seed: int,
    draws: int = DRAWS,
) -> SetReport:
    """
    Return the report of systems that were *measured* on the same *folds*.

    Intervals and comparisons draw members with all their cases, *draws* times from *seed*.
    """
    members = join_members(folds)
    peers = [system for system in measured if system.is_peer]
    best = max(peers, key=lambda system: float(system.by_case[MAIN].mean()), default=None)
    return SetReport(
        name=name,
        description=description,
        case_count=count_cases(folds),
        member_count=len(np.unique(members)),
        fold_count=len(folds),
        best_peer=best.name if best else "",
        systems=[report_system(system, best, members, seed, draws) for system in measured],
        slices=[report_slice(part, measured) for part in slices],
    )


def report_system(
    system: Measured, best: Measured | None, members: NDArray[np.integer], seed: int, draws: int
) -> SystemReport:
    """Return the figures of *system*, with intervals and the difference to the *best* peer."""
    figures = {}
    for metric in METRICS:
        if metric.key in system.by_case:
            interval = compute_interval(system.by_case[metric.key], seed=seed, groups=members, draws=draws)
            figures[metric.key] = Figure(*map(drop_nan, (interval.mean, interval.low, interval.high)))
        elif metric.key in system.overall:
            figures[metric.key] = Figure(drop_nan(system.overall[metric.key]))
    differences = {}
    if best and best is not system:
        for key in COMPARED:
            compared = compare_paired(system.by_case[key], best.by_case[key], seed=seed, groups=members, draws=draws)
            differences[key] = Difference(
                compared.difference, compared.low, compared.high, bool(compared.excludes_zero)
            )
    return SystemReport(system.name, system.is_peer, system.note, figures, differences)


def report_slice(part: Slice, measured: Sequence[Measured]) -> SliceReport:
    """Return the figures of every system on a slice."""
    figures = {}
    for system in measured:
        values = measure_slice(system, part)
        figures[system.name] = {key: float(values[key].mean()) for key in COMPARED}
    return SliceReport(part.group, part.label, len(part.cases), figures)


def drop_nan(value: float) -> float | None:
    """Return *value*, or None for NaN, which JSON does not have."""
    return None if isnan(value) else value


def build_json(reports: Sequence[SetReport]) -> dict[str, Any]:
    """Return the *reports* as JSON has them, with a description of every metric."""
    return {"metrics": [asdict(metric) for metric in METRICS], "sets": [asdict(report) for report in reports]}


def format_table(report: SetReport) -> str:
    """Return the *report* as plain text: systems by metrics, the comparison with the best peer, then the slices."""
    keys = list(dict.fromkeys(key for system in report.systems for key in system.figures))
    labels = {metric.key: metric.label for metric in METRICS}
    rows = [["", *(labels[key] for key in keys)]]
    for system in report.systems:
        rows.append([system.name, *(format_figure(system.figures.get(key), key in SHOWN_WITH_LIMITS) for key in keys)])
    blocks = [format_title(report), align(rows)]
    if report.best_peer:
        blocks.append(format_comparison(report, labels))
    for group in dict.fromkeys(part.group for part in report.slices):
        blocks.append(format_slices(report, group, labels))
    notes = [f"{system.name}: {system.note}" for system in report.systems if system.note]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])]) + "\n"


def format_title(report: SetReport) -> str:
    """Return the name, the size and the description of a set."""
    sets = "1 training set" if report.fold_count == 1 else f"{report.fold_count} training sets"
    size = f"{report.case_count:,} cases of {report.member_count:,} members, {sets}"
    return f"{report.name}: {size}\n{report.description}"


def format_comparison(report: SetReport, labels: dict[str, str]) -> str:
    """Return each system's difference to the best peer. * marks an interval that excludes 0."""
    rows = [[f"minus {report.best_peer}", *(labels[key] for key in COMPARED)]]
    for system in report.systems:
        if system.differences:
            rows.append([system.name, *(format_difference(system.differences[key]) for key in COMPARED)])
    return align(rows)


def format_slices(report: SetReport, group: str, labels: dict[str, str]) -> str:
    """Return the main metric of each system in the slices of one group."""
    parts = [part for part in report.slices if part.group == group]
    rows = [[f"{labels[MAIN]} by {group}", *(part.label for part in parts)]]
    rows.append(["cases", *(f"{part.case_count:,}" for part in parts)])
    for system in report.systems:
        rows.append([system.name, *(f"{part.figures[system.name][MAIN]:.3f}" for part in parts)])
    return align(rows)


def format_figure(figure: Figure | None, has_limits: bool) -> str:
    """Return a value, and its limits in brackets if asked for."""
    if figure is None or figure.value is None:
        return "–"
    limits = f" [{figure.low:.3f}, {figure.high:.3f}]" if has_limits and figure.low is not None else ""
    return f"{figure.value:.3f}{limits}"


def format_difference(difference: Difference) -> str:
    """Return a difference with its limits, and * if they exclude 0."""
    mark = " *" if difference.excludes_zero else ""
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{mark}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* of cells as lines: the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
