"""
Where metrics are counted, and what units are alike in: those who know register here, so that flags need know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flags.analysis.moments import Float64Array

CountEvents = Callable[[Sequence[str], Float64Array, Float64Array, Sequence[str]], Float64Array]
"""
From n ids of units, two moments of each (Unix seconds, (n,)) and kinds of events, to how many events of these kinds
each unit has (n,) from the first of its moments on, up to the second.
"""
SliceUnits = Callable[[Sequence[str]], dict[str, list[str]]]
"""From n ids of units to what each is, by the name of a slice: {"language": ["en", "de", …]}; empty where unknown."""

_metric_sources: dict[str, CountEvents] = {}
_slicers: dict[str, SliceUnits] = {}


def register_metric_source(name: str, count: CountEvents) -> None:
    """Let metrics name this source."""
    _metric_sources[name] = count


def register_slicer(name: str, slicer: SliceUnits) -> None:
    """Let results be looked at by what *slices* says of units."""
    _slicers[name] = slicer


def metric_source_names() -> list[str]:
    """Return the sources that metrics may name."""
    return sorted(_metric_sources)


def count_events(
    name: str, unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Return each unit's events; see `Count`. Raises `KeyError` if nobody registered the source."""
    return _metric_sources[name](unit_ids, since, until, kinds)


def slice_units(unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return all that is known of what units are; see `Slices`."""
    return {name: values for read in _slicers.values() for name, values in read(unit_ids).items()}
