"""A chart of the growth of the kernel's time and memory, as SVG with logarithmic axes."""

import math
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 760, 330, 60, 40, 290, 220
COLORS = ("#1b6ca8", "#c8553d", "#588157")


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the chart: name, growing quantity, and points (size, milliseconds, megabytes)."""

    name: str
    growing: str
    points: list[tuple[float, float, float]]


def growth_chart(series: list[Series]) -> str:
    """Return the SVG: time on the left, memory on the right."""
    panels = [
        _panel(series, 1, "milliseconds per query, top 100", LEFT),
        _panel(series, 2, "megabytes of linear memory", LEFT + PLOT_WIDTH + 90),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="11">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(series: list[Series], column: int, title: str, left: int) -> str:
    sizes = [point[0] for line in series for point in line.points]
    values = [point[column] for line in series for point in line.points]
    across, up = _scale(sizes, PLOT_WIDTH), _scale(values, PLOT_HEIGHT)
    bottom = TOP + PLOT_HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for power in _powers(sizes):
        x = left + across(power)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{power:,.0f}</text>')
    for power in _powers(values):
        y = bottom - up(power)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + PLOT_WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{power:g}</text>')
    for line, color, place in zip(series, COLORS, range(len(series)), strict=False):
        points = [(left + across(point[0]), bottom - up(point[column])) for point in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        label = f"{line.name}, by {line.growing}"
        parts.append(f'<text x="{left}" y="{bottom + 36 + 14 * place}" fill="{color}">{label}</text>')
    return "\n".join(parts)


def _scale(values: list[float], length: int):  # type: ignore[no-untyped-def]
    low, high = math.log10(min(_powers(values))), math.log10(max(_powers(values)))
    return lambda value: (math.log10(value) - low) / (high - low) * length


def _powers(values: list[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]
