"""
The operators' dashboard as data: panels of stats, plots, bars and tables. Each app registers its own panels.

A panel that fails shows its error and does not affect the others. Requests in one language within `CACHE_SECONDS` share
one set of panels. No panel may read more than a bounded number of rows.

Titles, labels, columns, notes and empty texts are translated here. A panel translates what it composes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from django.utils.translation import get_language, gettext

from monitoring.extensions import extensions_of

CACHE_SECONDS = 2.0
"""How long built panels are reused. Changes the speed."""
log = logging.getLogger(__name__)

Point = tuple[float, float]
"""Unix seconds and a value."""
Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Stat:
    """One large number. *tone* is "bad" if an operator should act, "good" if all is well, else empty."""

    label: str
    value: Cell
    unit: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over time in one unit."""

    title: str
    unit: str
    lines: dict[str, list[Point]]


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar per name, longest first."""

    title: str
    unit: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns. *link* is the address of the page with all rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    link: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The content of a panel. *empty_text* replaces the content if there is nothing to show."""

    stats: Sequence[Stat] = ()
    plots: Sequence[Plot] = ()
    bars: Sequence[Bars] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    empty_text: str = ""


PanelBuilder = Callable[[datetime], Panel]
extensions = extensions_of(__name__)
_panels: dict[str, tuple[str, int, PanelBuilder]] = {}


def register_panel(key: str, title: str, build: PanelBuilder, *, order: int) -> None:
    """Register a panel. Panels are shown by ascending *order*; a second panel with the same key replaces the first."""
    _panels[key] = (title, order, build)


def build_panels(now: datetime) -> list[dict[str, Any]]:
    """Return every panel as plain data, in order."""
    extensions.load()
    ordered = sorted(_panels.items(), key=lambda item: item[1][1])
    return [{"key": key, "title": gettext(title)} | build_panel(key, build, now) for key, (title, _, build) in ordered]


def build_panel(key: str, build: PanelBuilder, now: datetime) -> dict[str, Any]:
    """Return a panel's content, or the type of its error: the error's text may contain personal data."""
    try:
        return translate_panel(asdict(build(now)))
    except Exception as error:
        log.warning("panel_failed", extra={"panel": key, "problem": type(error).__name__})
        return {"error": type(error).__name__}


def translate_panel(panel: dict[str, Any]) -> dict[str, Any]:
    """Return a panel with its texts in the active language."""
    for name in ("note", "empty_text"):
        panel[name] = panel[name] and gettext(panel[name])
    for stat in panel["stats"]:
        stat["label"] = gettext(stat["label"])
    for item in (*panel["plots"], *panel["bars"], *panel["tables"]):
        item["title"] = gettext(item["title"])
    for table in panel["tables"]:
        table["columns"] = list(map(gettext, table["columns"]))
    return panel


class DashboardCache:
    """The panels that this process built last, by language."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._built: dict[str | None, tuple[float, dict[str, Any]]] = {}

    def get(self, now: datetime) -> dict[str, Any]:
        """Return all panels in the active language, at most `CACHE_SECONDS` old."""
        language = get_language()
        with self._lock:
            built_at, data = self._built.get(language, (-CACHE_SECONDS, {}))
            if monotonic() - built_at >= CACHE_SECONDS:
                data = {"at": now.timestamp(), "panels": build_panels(now)}
                self._built[language] = (monotonic(), data)
            return data


dashboard_cache = DashboardCache()
