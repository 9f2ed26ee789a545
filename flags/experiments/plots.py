"""The plots of the report as SVG coordinates. The template draws them in the page's colors, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flags.experiments.report import ComparisonRow, LiftPoint
from monitoring.number_texts import decimals, grouped

WIDTH = 640
FOREST_WIDTH, MARGIN_LEFT, MARGIN_RIGHT, ROW_HEIGHT = 800, 350, 70, 30
HEIGHT, MARGIN_TOP, MARGIN_BOTTOM = 220, 16, 28
MAX_SHOWN_LIFT = 10.0
DASHES = ("", "6 4", "2 3", "8 3 2 3", "1 4")
"""Dash patterns of the variants' lines, so that they differ without color."""


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """One interval of the forest plot, in SVG units."""

    label: str
    y: float
    low: float
    high: float
    middle: float
    value_label: str


@dataclass(frozen=True, slots=True)
class ForestPlot:
    """Lifts with their intervals, one per row."""

    height: int
    zero_x: float
    bars: list[IntervalBar]
    ticks: list[tuple[float, str]]


def build_forest_plot(comparisons: Sequence[ComparisonRow]) -> ForestPlot | None:
    """Return the forest plot of the comparisons, or None if none has an interval."""
    rows = [(row, *interval) for row in comparisons if (interval := lift_interval(row))]
    if not rows:
        return None
    limit = max(0.02, *(abs(value) for _, low, _, high in rows for value in (low, high)))
    limit = min(limit, 1.0)  # Wider intervals are cut at -100 % and +100 %.

    def value_to_x(value: float) -> float:
        share = (min(max(value, -limit), limit) + limit) / (2 * limit)
        return round(MARGIN_LEFT + share * (FOREST_WIDTH - MARGIN_LEFT - MARGIN_RIGHT), 1)

    bars = [
        IntervalBar(
            f"{row.slice_label.partition('=')[2] or row.metric}, {row.variant}",
            ROW_HEIGHT * number + ROW_HEIGHT,
            value_to_x(low),
            value_to_x(high),
            value_to_x(lift),
            format_lift(lift),
        )
        for number, (row, low, lift, high) in enumerate(rows)
    ]
    ticks = [(value_to_x(value), f"{value:+.0%}") for value in (-limit, -limit / 2, 0.0, limit / 2, limit)]
    return ForestPlot(ROW_HEIGHT * len(rows) + 2 * ROW_HEIGHT, value_to_x(0.0), bars, ticks)


def format_lift(lift: float) -> str:
    """Return a lift as a signed percentage. Beyond `MAX_SHOWN_LIFT` the control's mean is too small to relate to."""
    if abs(lift) > MAX_SHOWN_LIFT:
        return f"{'>' if lift > 0 else '<'} {'+' if lift > 0 else '-'}{decimals(100 * MAX_SHOWN_LIFT, 0)}%"
    return f"{'-' if lift < 0 else '+'}{decimals(100 * abs(lift), 1)}%"


def lift_interval(comparison: ComparisonRow) -> tuple[float, float, float] | None:
    """Return the low limit, the lift and the high limit, or None if the comparison has no lift."""
    low, lift, high = (comparison.numbers[name] for name in ("lift_low", "lift", "lift_high"))
    return None if low is None or lift is None or high is None else (low, lift, high)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over time with its band."""

    label: str
    dash_pattern: str
    points: str
    band: str


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """Lines over time."""

    curves: list[Curve]
    zero_y: float | None
    ticks: list[tuple[float, str]]
    first_label: str
    last_label: str


def build_lift_plot(lift_history: Sequence[LiftPoint]) -> CurvePlot | None:
    """Return the plot of the goal's lift by analysis, or None for fewer than two analyses."""
    times = sorted({point.analyzed_at for point in lift_history})
    if len(times) < 2:
        return None
    top = min(max(0.02, *(max(abs(point.low), abs(point.high)) for point in lift_history)), 1.0)
    span = (times[-1] - times[0]).total_seconds()

    def coordinates(point: LiftPoint, value: float) -> str:
        x = 60 + (point.analyzed_at - times[0]).total_seconds() / span * (WIDTH - 60 - 20)
        return f"{x:.1f},{value_to_y(value, top):.1f}"

    curves = []
    for number, variant in enumerate(dict.fromkeys(point.variant for point in lift_history)):
        points = [point for point in lift_history if point.variant == variant]
        edge = [coordinates(point, point.high) for point in points] + [
            coordinates(point, point.low) for point in reversed(points)
        ]
        line = " ".join(coordinates(point, point.lift) for point in points)
        curves.append(Curve(variant, DASHES[number % len(DASHES)], line, " ".join(edge)))
    ticks = [(round(value_to_y(value, top), 1), f"{value:+.0%}") for value in (top, 0.0, -top)]
    return CurvePlot(curves, value_to_y(0.0, top), ticks, f"{times[0]:%Y-%m-%d}", f"{times[-1]:%Y-%m-%d}")


def value_to_y(value: float, top: float) -> float:
    """Return the y coordinate of a value between -top and top."""
    share = (min(max(value, -top), top) + top) / (2 * top)
    return HEIGHT - MARGIN_BOTTOM - share * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)


def build_units_plot(daily_units: dict[str, dict[str, int]]) -> CurvePlot | None:
    """Return the plot of the cumulative units per day and variant, or None for fewer than two days."""
    days = sorted({day for counts in daily_units.values() for day in counts})
    if len(days) < 2:
        return None
    totals: dict[str, list[int]] = {}
    for variant, counts in daily_units.items():
        total, line = 0, []
        for day in days:
            total += counts.get(day, 0)
            line.append(total)
        totals[variant] = line
    top = max(max(line) for line in totals.values())

    def coordinates(number: int, value: int) -> str:
        x = 60 + number / (len(days) - 1) * (WIDTH - 60 - 20)
        return f"{x:.1f},{HEIGHT - MARGIN_BOTTOM - value / top * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM):.1f}"

    curves = [
        Curve(
            variant, DASHES[number % len(DASHES)], " ".join(coordinates(i, value) for i, value in enumerate(line)), ""
        )
        for number, (variant, line) in enumerate(totals.items())
    ]
    ticks = [(float(MARGIN_TOP), grouped(top)), (float(HEIGHT - MARGIN_BOTTOM), "0")]
    return CurvePlot(curves, None, ticks, days[0], days[-1])
