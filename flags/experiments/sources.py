"""
Where metrics are counted, and what units are alike in: those who know register here, so that flags need know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flags.analysis.moments import Float64Array

Count = Callable[[Sequence[str], Float64Array, Float64Array, Sequence[str]], Float64Array]
"""
From n ids of units, two moments of each (Unix seconds, (n,)) and kinds of events, to how many events of these kinds
each unit has (n,) from the first of its moments on, up to the second.
"""
Slices = Callable[[Sequence[str]], dict[str, list[str]]]
"""From n ids of units to what each is, by the name of a slice: {"language": ["en", "de", …]}; empty where unknown."""

_counts: dict[str, Count] = {}
_slices: dict[str, Slices] = {}


def register(name: str, count: Count) -> None:
    """Let metrics name this source."""
    _counts[name] = count


def register_slices(name: str, slices: Slices) -> None:
    """Let results be looked at by what *slices* says of units."""
    _slices[name] = slices


def names() -> list[str]:
    """Return the sources that metrics may name."""
    return sorted(_counts)


def count(
    name: str, unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Return each unit's events; see `Count`. Raises `KeyError` if nobody registered the source."""
    return _counts[name](unit_ids, since, until, kinds)


def slices(unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return all that is known of what units are; see `Slices`."""
    return {name: values for read in _slices.values() for name, values in read(unit_ids).items()}
