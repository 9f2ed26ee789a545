"""Plots as SVG text, for a page that loads nothing. Colors are CSS classes of the page, so they follow its theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH = 360
"""Units of a plot. A phone shows it at this width in pixels, so that text of 11 units is readable there."""
LABELS, RIGHT, ROW, TOP = 124, 48, 24, 8
"""Units: the width of the labels at the left and of the values at the right, the height of a row, the upper margin."""
HEIGHT, LABEL = 260, 13
"""Units: the height of a scatter plot, and the distance of its labels."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A labeled value with the limits of its interval, or None for no interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    is_peer: bool


@dataclass(frozen=True, slots=True)
class Point:
    """A labeled point of a scatter plot."""

    label: str
    x: float
    y: float
    is_peer: bool


def draw_dots(title: str, dots: Sequence[Dot]) -> str:
    """Return a plot with one row for each dot, its interval as a line, and its value at the right. Starts at 0."""
    end = max([0.0, *(dot.value for dot in dots), *(dot.high for dot in dots if dot.high is not None)]) or 1.0
    height = TOP + ROW * len(dots) + ROW
    parts = draw_vertical_axis(end, TOP, height - ROW)
    for row, dot in enumerate(dots):
        y = TOP + ROW * row + ROW / 2
        parts.append(draw_text(LABELS - 8, y + 4, dot.label, "end"))
        if dot.low is not None and dot.high is not None:
            x1, x2 = place(dot.low, end), place(dot.high, end)
            parts.append(f'<line class="{get_class(dot)}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:g}" y2="{y:g}"/>')
        parts.append(f'<circle class="{get_class(dot)}" cx="{place(dot.value, end):.1f}" cy="{y:g}" r="4"/>')
        parts.append(draw_text(WIDTH, y + 4, f"{dot.value:.3f}", "end"))
    return wrap(title, height, parts)


def draw_scatter(title: str, x_label: str, y_label: str, points: Sequence[Point]) -> str:
    """Return a scatter plot. Both axes start at 0."""
    x_end = max([0.0, *(point.x for point in points)]) or 1.0
    y_end = max([0.0, *(point.y for point in points)]) or 1.0
    left, bottom, top = 44, HEIGHT - 36, 16
    parts = []
    for value in find_ticks(x_end):
        x = left + (WIDTH - RIGHT - left) * value / x_end
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(draw_text(x, bottom + 14, f"{value:g}", "middle"))
    for value in find_ticks(y_end):
        y = bottom - (bottom - top) * value / y_end
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(draw_text(left - 6, y + 4, f"{value:g}", "end"))
    ordered = sorted(points, key=lambda point: -point.y)
    heights = [bottom - (bottom - top) * point.y / y_end for point in ordered]
    for point, y, label_y in zip(ordered, heights, spread(heights, bottom), strict=True):
        x = left + (WIDTH - RIGHT - left) * point.x / x_end
        is_right = x > WIDTH / 2
        label_x = x + (-9 if is_right else 9)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{label_x:.1f}" y1="{y:.1f}" y2="{label_y:.1f}"/>')
        parts.append(f'<circle class="{get_class(point)}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(draw_text(label_x, label_y + 4, point.label, "end" if is_right else "start"))
    parts.append(draw_text((left + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
    parts.append(draw_text(0, 10, y_label, "start"))
    return wrap(title, HEIGHT, parts)


def spread(heights: Sequence[float], bottom: float) -> list[float]:
    """Return *heights*, which rise, moved apart so that labels do not overlap; above *bottom* if there is room."""
    spread_heights: list[float] = []
    for height in heights:
        spread_heights.append(max(height, spread_heights[-1] + LABEL) if spread_heights else height)
    limit = bottom
    for index in reversed(range(len(spread_heights))):
        spread_heights[index] = limit = min(spread_heights[index], limit)
        limit -= LABEL
    return spread_heights


def draw_vertical_axis(end: float, top: float, bottom: float) -> list[str]:
    """Return grid lines from 0 to *end* with their values below."""
    parts = []
    for value in find_ticks(end):
        x = place(value, end)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:g}"/>')
        parts.append(draw_text(x, bottom + 14, f"{value:g}", "middle"))
    return parts


def find_ticks(end: float) -> list[float]:
    """Return three to six round values from 0 to *end*, which is positive."""
    power = 10.0 ** floor(log10(end))
    step = next(step for step in (0.2, 0.5, 1.0, 2.0) if end / (step * power) <= 5)
    return [round(step * power * number, 12) for number in range(floor(end / (step * power)) + 1)]


def place(value: float, end: float) -> float:
    """Return where *value* is on a horizontal axis from 0 to *end*."""
    return LABELS + (WIDTH - LABELS - RIGHT) * value / end


def get_class(mark: Dot | Point) -> str:
    """Return the CSS class of a mark."""
    return "peer" if mark.is_peer else "ours"


def draw_text(x: float, y: float, text: str, anchor: str) -> str:
    """Return a text at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def wrap(title: str, height: float, parts: Sequence[str]) -> str:
    """Return the SVG element that holds the *parts*."""
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    )
    return "".join([head, *parts, "</svg>"])
