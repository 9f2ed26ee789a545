"""
Figures that are read when somebody asks: Prometheus, or the rules of alerts. Whoever knows a figure registers it here.

A figure that cannot be read is left out and said to be (`recsys_reading_up`); it takes no other with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring import clock
from monitoring.metrics import READING_UP, Read

log = logging.getLogger(__name__)

Values = dict[tuple[str, ...], float]
"""By the values of the labels, in the order in which `Read` names them."""


class UnknownReadingError(LookupError):
    """Nothing of this name is registered."""


@dataclass
class Registered:
    """What is read, how, and what was read last. Another thread's reading is waited for, not repeated."""

    read: Callable[[datetime], dict[Read, Values]]
    families: tuple[Read, ...]
    every: timedelta
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: datetime | None = None
    values: dict[Read, Values] | None = None

    def get(self, now: datetime) -> dict[Read, Values] | None:
        """Return the values, at most *every* old; None if they cannot be read."""
        with self.lock:
            if self.read_at is None or not timedelta(0) <= now - self.read_at < self.every:
                self.read_at = now
                try:
                    self.values = self.read(now)
                except Exception as error:
                    log.warning("reading_failed", extra={"reading": self.name, "problem": type(error).__name__})
                    self.values = None
            return self.values

    @property
    def name(self) -> str:
        """The word for it: its first family's name."""
        return self.families[0].name


_registered: dict[str, Registered] = {}


def register(
    *families: Read, read: Callable[[datetime], dict[Read, Values]], every: timedelta = timedelta(seconds=10)
) -> None:
    """Have *families* read by *read*, whose values serve for *every*; a second one takes the first one's place."""
    one = Registered(read, families, every)
    _registered[one.name] = one


def values(name: str, labels: Mapping[str, str], now: datetime) -> list[float]:
    """Return the values of the family *name* under these labels; none if it has none now."""
    for one in _registered.values():
        for family in one.families:
            if family.name == name:
                found = (one.get(now) or {}).get(family, {})
                named = ((dict(zip(family.labels, own, strict=True)), value) for own, value in found.items())
                return [value for own, value in named if labels.items() <= own.items()]
    raise UnknownReadingError(f"Nothing is registered as {name}; there are {', '.join(names())}.")


def names() -> list[str]:
    """Return every registered family's name."""
    return sorted(family.name for one in _registered.values() for family in one.families)


class Readings(Collector):
    """All of them, for Prometheus."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: to register this must not read everything."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what can be read, and whether each could be."""
        now = clock.now()
        up: Values = {}
        for one in _registered.values():
            found = one.get(now)
            up[(one.name,)] = float(found is not None)
            for family in one.families if found is not None else ():
                yield as_metric(family, (found or {}).get(family, {}))
        yield as_metric(READING_UP, up)


def as_metric(family: Read, values: Values) -> GaugeMetricFamily:
    """Return *values* in Prometheus' form."""
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, number in values.items():
        metric.add_metric(labels, number)
    return metric
