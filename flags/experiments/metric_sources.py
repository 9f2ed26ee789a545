"""
Registry of metric sources, which count the events of units, and of slicers, which group units for results.

Other apps register here, so that flags do not depend on members or interactions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flags.analysis.moments import Float64Array
from monitoring.extensions import extensions_of

CountEvents = Callable[[Sequence[str], Float64Array, Float64Array, Sequence[str]], Float64Array]
"""
Takes n unit ids, the start and end of a window per unit (Unix seconds, each (n,)) and kinds of events. Returns the
number of such events of each unit (n,) in [start, end).
"""
SliceUnits = Callable[[Sequence[str]], dict[str, list[str]]]
"""Takes n unit ids and returns the value of each unit by slice name: {"language": ["en", "de", …]}; "" if unknown."""

MeasureLateness = Callable[[datetime], float | None]
"""Takes the start and returns the share, 0 to 1, of the newest events since then that arrived more than a day late."""

extensions = extensions_of(__name__)
_lateness: dict[str, MeasureLateness] = {}
_metric_sources: dict[str, CountEvents] = {}
_slicers: dict[str, SliceUnits] = {}
_unit_counters: dict[str, Callable[[], int]] = {}


def register_metric_source(name: str, count: CountEvents) -> None:
    """Register a source that metrics can name."""
    _metric_sources[name] = count


def register_lateness(name: str, measure: MeasureLateness) -> None:
    """Register how late the events of a source arrive."""
    _lateness[name] = measure


def measure_lateness(name: str, since: datetime) -> float | None:
    """Return the share of late events of a source since a moment; None if there are none, or nobody measures it."""
    extensions.load()
    return _lateness[name](since) if name in _lateness else None


def register_slicer(name: str, slicer: SliceUnits) -> None:
    """Register a function that groups units, so that results are also reported per group."""
    _slicers[name] = slicer


def register_unit_counter(unit: str, count: Callable[[], int]) -> None:
    """Register a function that returns how many units of a kind exist, such as members."""
    _unit_counters[unit] = count


def count_units(unit: str) -> int | None:
    """Return how many units of this kind exist; None if no app counts them."""
    extensions.load()
    return _unit_counters[unit]() if unit in _unit_counters else None


def metric_source_names() -> list[str]:
    """Return the names of the registered sources."""
    extensions.load()
    return sorted(_metric_sources)


def count_events(
    name: str, unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Return the number of events of each unit; see `CountEvents`. Raises `KeyError` for an unknown source."""
    extensions.load()
    return _metric_sources[name](unit_ids, since, until, kinds)


def slice_units(unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of the units by slice name, from all slicers; see `SliceUnits`."""
    extensions.load()
    return {name: values for slicer in _slicers.values() for name, values in slicer(unit_ids).items()}
