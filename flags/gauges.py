"""
Readings that guardrails hold rollouts by: those who measure register here, so that flags need know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MetricValue:
    """What was read, from how many samples. With none the value says nothing."""

    value: float
    samples: int


ReadMetricValue = Callable[[str, datetime, datetime], MetricValue]
"""From a variant (empty: all of them), since when and until when, to the reading."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A reading by its name."""

    description: str
    read: ReadMetricValue


_gauges: dict[str, Gauge] = {}


def register_gauge(name: str, description: str, read: ReadMetricValue) -> None:
    """Let guardrails name this reading. *description* says what it is, and its unit."""
    _gauges[name] = Gauge(description, read)


def describe_gauges() -> dict[str, str]:
    """Return each reading's name, and what it is."""
    return {name: one.description for name, one in sorted(_gauges.items())}


def read_gauge(name: str, variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the reading of this name. Raises `KeyError` if nobody registered it."""
    return _gauges[name].read(variant, since, until)
