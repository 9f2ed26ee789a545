"""Reports of an evaluation as one HTML page. It loads nothing: styles and plots are in the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from recommendations.evaluation.measure import METRICS, Metric
from recommendations.evaluation.plots import Dot, Point, draw_dots, draw_scatter
from recommendations.evaluation.report import (
    COMPARED,
    MAIN,
    Difference,
    Figure,
    SetReport,
    SystemReport,
    format_difference,
    format_title,
)

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5f6973; --line: #d9dee3; --page: #fff; --ours: #c2410c;
  --peer: #2563a8; --mark: #eef4fb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #363d45; --page: #14171a;
  --ours: #fb923c; --peer: #7ab4f5; --mark: #1d2733; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p, dd, figcaption, small { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .875rem; }
svg { width: 100%; max-width: 32rem; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .grid { stroke: var(--line); }
svg line.ours { stroke: var(--ours); stroke-width: 2; } svg line.peer { stroke: var(--peer); stroke-width: 2; }
svg circle.ours { fill: var(--ours); } svg circle.peer { fill: var(--peer); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
td.best { background: var(--mark); font-weight: 600; }
td small { display: block; }
dl { font-size: .875rem; } dt { font-weight: 600; } dd { margin: 0 0 .3rem; }
"""


def build_page(title: str, reports: Sequence[SetReport]) -> str:
    """Return a page with a section for each of the *reports*, and what the metrics mean."""
    sections = "".join(map(build_section, reports))
    meanings = "".join(f"<dt>{escape(metric.label)}</dt><dd>{escape(metric.help)}</dd>" for metric in METRICS)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>Full catalogue, without the posts that a member knows. Intervals hold the mean "
        f"with 95 % probability (bootstrap over members). Highlighted: the best of a column.</p>{sections}"
        f"<h2>What the metrics mean</h2><dl>{meanings}</dl></body></html>\n"
    )


def build_section(report: SetReport) -> str:
    """Return the section of a set: plots, figures, the comparison with the best peer, slices and notes."""
    head, description = format_title(report).split("\n", 1)
    groups = dict.fromkeys(part.group for part in report.slices)
    notes = [f"<dt>{escape(s.name)}</dt><dd>{escape(s.note)}</dd>" for s in report.systems if s.note]
    parts = [
        f"<section><h2>{escape(head)}</h2><p>{escape(description)}</p>",
        f'<div class="plots">{"".join(build_plots(report))}</div>',
        build_figures(report),
        build_comparison(report) if report.best_peer else "",
        *(build_slices(report, group) for group in groups),
        f"<h3>Notes</h3><dl>{''.join(notes)}</dl>" if notes else "",
        "</section>",
    ]
    return "".join(parts)


def build_plots(report: SetReport) -> list[str]:
    """Return the compared metrics with their intervals, and accuracy against coverage, where they are known."""
    labels = {metric.key: metric.label for metric in METRICS}
    plots = []
    for key in COMPARED:
        known = [(s, s.figures[key]) for s in report.systems]
        dots = [Dot(s.name, f.value, f.low, f.high, s.is_peer) for s, f in known if f.value is not None]
        plots.append(build_figure(draw_dots(f"{labels[key]} of each system", dots), f"{labels[key]} and 95 % interval"))
    pairs = [(s, s.figures["coverage"].value, s.figures[MAIN].value) for s in report.systems]
    points = [Point(s.name, x, y, s.is_peer) for s, x, y in pairs if x is not None and y is not None]
    title = f"{labels[MAIN]} against {labels['coverage']}"
    plots.append(build_figure(draw_scatter(title, labels["coverage"], labels[MAIN], points), title))
    return plots


def build_figure(svg: str, caption: str) -> str:
    """Return a plot with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def build_figures(report: SetReport) -> str:
    """Return the table of systems by metrics, with intervals."""
    shown = [metric for metric in METRICS if any(metric.key in system.figures for system in report.systems)]
    best = {metric.key: find_best(report.systems, metric) for metric in shown}
    rows = []
    for system in report.systems:
        cells = [build_cell(system.figures.get(m.key, Figure(None)), best[m.key]) for m in shown]
        rows.append(f"<tr><th>{escape(system.name)}</th>{''.join(cells)}</tr>")
    return build_table(["", *(metric.label for metric in shown)], rows)


def find_best(systems: Sequence[SystemReport], metric: Metric) -> float | None:
    """Return the best value of a metric, or None if no system has one."""
    figures = [system.figures[metric.key].value for system in systems if metric.key in system.figures]
    values = [value for value in figures if value is not None]
    return (min if metric.is_lower_better else max)(values, default=None)


def build_cell(figure: Figure, best: float | None) -> str:
    """Return the cell of a figure, with its interval below."""
    if figure.value is None:
        return "<td>–</td>"
    limits = "" if figure.low is None else f"<small>{figure.low:.3f}–{figure.high:.3f}</small>"
    mark = ' class="best"' if figure.value == best else ""
    return f"<td{mark}>{figure.value:.3f}{limits}</td>"


def build_comparison(report: SetReport) -> str:
    """Return the table of each system's difference to the best peer."""
    labels = {metric.key: metric.label for metric in METRICS}
    rows = []
    for system in report.systems:
        if system.differences:
            cells = "".join(build_difference(system.differences[key]) for key in COMPARED)
            rows.append(f"<tr><th>{escape(system.name)}</th>{cells}</tr>")
    title = f"<h3>Difference to {escape(report.best_peer)}, on the same cases (* excludes 0)</h3>"
    return title + build_table(["", *(labels[key] for key in COMPARED)], rows)


def build_difference(difference: Difference) -> str:
    """Return the cell of a difference."""
    return f"<td>{escape(format_difference(difference))}</td>"


def build_slices(report: SetReport, group: str) -> str:
    """Return the table of the main metric in the slices of one group."""
    parts = [part for part in report.slices if part.group == group]
    best = [max(figures[MAIN] for figures in part.figures.values()) for part in parts]
    rows = [f"<tr><th>cases</th>{''.join(f'<td>{part.case_count:,}</td>' for part in parts)}</tr>"]
    for system in report.systems:
        figures = [Figure(part.figures[system.name][MAIN]) for part in parts]
        cells = "".join(build_cell(figure, value) for figure, value in zip(figures, best, strict=True))
        rows.append(f"<tr><th>{escape(system.name)}</th>{cells}</tr>")
    label = next(metric.label for metric in METRICS if metric.key == MAIN)
    return f"<h3>{label} by {escape(group)}</h3>" + build_table(["", *(part.label for part in parts)], rows)


def build_table(header: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table that scrolls by itself on a narrow screen."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f'<div class="wide"><table><tr>{cells}</tr>{"".join(rows)}</table></div>'
