"""
The operators' dashboard as data: panels of figures, plots and tables. Apps add the panels that they know about.

A panel that fails says so in its place and leaves the others alone. All operators who look at the same moment are
answered from one asking; no panel may read more than a bounded number of rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from time import monotonic
from typing import Any

import structlog

CACHE_SECONDS = 2.0
"""So long one asking answers everybody. Changes the speed."""
logger = structlog.get_logger(__name__)

Point = tuple[float, float]
"""Unix seconds, and a value."""
Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Stat:
    """One number in large. *tone* is bad where somebody should act, good where all is well."""

    label: str
    value: Cell
    unit: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over time, all in one unit."""

    title: str
    unit: str
    lines: dict[str, list[Point]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Something of each of several things, longest first."""

    title: str
    unit: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; *link* leads to all of them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    link: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """What a panel shows; *empty* is what it says when there is nothing to show."""

    stats: Sequence[Stat] = ()
    plots: Sequence[Plot] = ()
    bars: Sequence[Bars] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    empty_text: str = ""


PanelBuilder = Callable[[datetime], Panel]
_panels: dict[str, tuple[str, int, PanelBuilder]] = {}


def register_panel(key: str, title: str, build: PanelBuilder, *, order: int) -> None:
    """Show a panel, the lower *place* the earlier; a second one of the same key takes the first one's place."""
    _panels[key] = (title, order, build)


def build_panels(now: datetime) -> list[dict[str, Any]]:
    """Return every panel as plain data, in its order."""
    ordered = sorted(_panels.items(), key=lambda item: item[1][1])
    return [{"key": key, "title": title} | build_panel(key, make, now) for key, (title, _, make) in ordered]


def build_panel(key: str, build: PanelBuilder, now: datetime) -> dict[str, Any]:
    """Return what a panel shows, or the type of what went wrong: its text may hold anything."""
    try:
        return asdict(build(now))
    except Exception as error:
        logger.warning("panel_failed", panel=key, problem=type(error).__name__)
        return {"error": type(error).__name__}


class DashboardCache:
    """The answer that was given last, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._built_at = -CACHE_SECONDS
        self._data: dict[str, Any] = {}

    def get(self, now: datetime) -> dict[str, Any]:
        """Return all panels as of *now* or of a moment ago."""
        with self._lock:
            if monotonic() - self._built_at >= CACHE_SECONDS:
                self._data = {"at": now.timestamp(), "panels": build_panels(now)}
                self._built_at = monotonic()
            return self._data


dashboard_cache = DashboardCache()
