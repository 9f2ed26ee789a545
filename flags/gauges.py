"""
Registry of gauges: named metric values that the guardrails of rollout plans compare with a threshold.

Other apps register gauges here, so that flags do not depend on what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from monitoring.extensions import extensions_of


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A value and the number of samples behind it. With 0 samples the value is meaningless."""

    value: float
    samples: int


ReadMetricValue = Callable[[str, datetime, datetime], MetricValue]
"""Takes a variant (empty: all variants), the start and the end of a window, and returns the metric value."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric value's description and the function that computes it."""

    description: str
    read: ReadMetricValue


extensions = extensions_of(__name__)
_gauges: dict[str, Gauge] = {}
_variants: dict[str, Callable[[], set[str]]] = {}


def register_gauge(name: str, description: str, read: ReadMetricValue) -> None:
    """Register a gauge that guardrails can name. *description* includes the unit."""
    _gauges[name] = Gauge(description, read)


def register_variants(flag: str, read: Callable[[], set[str]]) -> None:
    """Register a function that returns the variants of requests under *flag*, besides the flag's own variants."""
    _variants[flag] = read


def read_variants(flag: str) -> set[str]:
    """Return the variants of requests under this flag that were registered."""
    extensions.load()
    return _variants[flag]() if flag in _variants else set()


def describe_gauges() -> dict[str, str]:
    """Return the description of each gauge, by name."""
    extensions.load()
    return {name: gauge.description for name, gauge in sorted(_gauges.items())}


def read_gauge(name: str, variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the gauge's value for the window. Raises `KeyError` if no gauge has this name."""
    extensions.load()
    return _gauges[name].read(variant, since, until)
