"""The report's pictures, as places in an SVG: it takes the page's own colours, and fits a light and a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flags.experiments.report import ComparisonRow, LiftPoint

WIDTH, MARGIN_LEFT, MARGIN_RIGHT, ROW_HEIGHT = 640, 210, 60, 30
HEIGHT, MARGIN_TOP, MARGIN_BOTTOM = 220, 16, 28
DASHES = ("", "6 4", "2 3", "8 3 2 3", "1 4")
"""How the lines of variants differ: not by colour alone."""


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """One interval of the forest plot, in the picture's own units."""

    label: str
    y: float
    low: float
    high: float
    middle: float
    value_label: str


@dataclass(frozen=True, slots=True)
class ForestPlot:
    """Lifts with their intervals, one under the other."""

    height: int
    zero_x: float
    bars: list[IntervalBar]
    ticks: list[tuple[float, str]]


def build_forest_plot(comparisons: Sequence[ComparisonRow]) -> ForestPlot | None:
    """Return the picture of these comparisons; None if none has an interval."""
    shown = [(line, *known) for line in comparisons if (known := lift_interval(line))]
    if not shown:
        return None
    reach = max(0.02, *(abs(value) for _, low, _, high in shown for value in (low, high)))
    reach = min(reach, 1.0)  # an interval that is wider says nothing more

    def across(value: float) -> float:
        share = (min(max(value, -reach), reach) + reach) / (2 * reach)
        return round(MARGIN_LEFT + share * (WIDTH - MARGIN_LEFT - MARGIN_RIGHT), 1)

    bars = [
        IntervalBar(
            f"{line.slice_label.partition('=')[2] or line.metric}, {line.variant}",
            ROW_HEIGHT * number + ROW_HEIGHT,
            across(low),
            across(high),
            across(lift),
            f"{lift:+.1%}",
        )
        for number, (line, low, lift, high) in enumerate(shown)
    ]
    ticks = [(across(value), f"{value:+.0%}") for value in (-reach, -reach / 2, 0.0, reach / 2, reach)]
    return ForestPlot(ROW_HEIGHT * len(shown) + 2 * ROW_HEIGHT, across(0.0), bars, ticks)


def lift_interval(comparison: ComparisonRow) -> tuple[float, float, float] | None:
    """Return a line's lift between its limits; None if it has none."""
    low, lift, high = (comparison.numbers[name] for name in ("lift_low", "lift", "lift_high"))
    return None if low is None or lift is None or high is None else (low, lift, high)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line over time, and the band that it lies in."""

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
    """Return the goal's lift as it settled, look by look; None for fewer than two looks."""
    times = sorted({look.analyzed_at for look in lift_history})
    if len(times) < 2:
        return None
    top = min(max(0.02, *(max(abs(look.low), abs(look.high)) for look in lift_history)), 1.0)
    span = (times[-1] - times[0]).total_seconds()

    def at(look: LiftPoint, value: float) -> str:
        x = 60 + (look.analyzed_at - times[0]).total_seconds() / span * (WIDTH - 60 - 20)
        return f"{x:.1f},{value_to_y(value, top):.1f}"

    curves = []
    for number, variant in enumerate(dict.fromkeys(look.variant for look in lift_history)):
        own = [look for look in lift_history if look.variant == variant]
        edge = [at(look, look.high) for look in own] + [at(look, look.low) for look in reversed(own)]
        line = " ".join(at(look, look.lift) for look in own)
        curves.append(Curve(variant, DASHES[number % len(DASHES)], line, " ".join(edge)))
    ticks = [(round(value_to_y(value, top), 1), f"{value:+.0%}") for value in (top, 0.0, -top)]
    return CurvePlot(curves, value_to_y(0.0, top), ticks, f"{times[0]:%Y-%m-%d}", f"{times[-1]:%Y-%m-%d}")


def value_to_y(value: float, top: float) -> float:
    """Return where a value between -top and top lies."""
    share = (min(max(value, -top), top) + top) / (2 * top)
    return HEIGHT - MARGIN_BOTTOM - share * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)


def build_units_plot(daily_units: dict[str, dict[str, int]]) -> CurvePlot | None:
    """Return how many units were in after each day, by variant; None for fewer than two days."""
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

    def at(number: int, value: int) -> str:
        x = 60 + number / (len(days) - 1) * (WIDTH - 60 - 20)
        return f"{x:.1f},{HEIGHT - MARGIN_BOTTOM - value / top * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM):.1f}"

    curves = [
        Curve(variant, DASHES[number % len(DASHES)], " ".join(at(i, value) for i, value in enumerate(line)), "")
        for number, (variant, line) in enumerate(totals.items())
    ]
    ticks = [(float(MARGIN_TOP), f"{top:,}"), (float(HEIGHT - MARGIN_BOTTOM), "0")]
    return CurvePlot(curves, None, ticks, days[0], days[-1])
