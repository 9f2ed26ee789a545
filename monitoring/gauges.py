"""
Figures that are read when somebody asks: Prometheus, or the rules of alerts. Whoever knows a figure registers it here.

A figure that cannot be read is left out and said to be (`recsys_gauge_up`); it takes no other with it.
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
from monitoring.metrics import GAUGE_UP, ComputedGauge

log = logging.getLogger(__name__)

GaugeValues = dict[tuple[str, ...], float]
"""By the values of the labels, in the order in which `Read` names them."""


class UnknownGaugeError(LookupError):
    """Nothing of this name is registered."""


@dataclass
class GaugeSource:
    """What is read, how, and what was read last. Another thread's reading is waited for, not repeated."""

    compute: Callable[[datetime], dict[ComputedGauge, GaugeValues]]
    gauges: tuple[ComputedGauge, ...]
    max_age: timedelta
    lock: threading.Lock = field(default_factory=threading.Lock)
    computed_at: datetime | None = None
    values: dict[ComputedGauge, GaugeValues] | None = None

    def current_values(self, now: datetime) -> dict[ComputedGauge, GaugeValues] | None:
        """Return the values, at most *every* old; None if they cannot be read."""
        with self.lock:
            if self.computed_at is None or not timedelta(0) <= now - self.computed_at < self.max_age:
                self.computed_at = now
                try:
                    self.values = self.compute(now)
                except Exception as error:
                    log.warning("gauge_failed", extra={"metric": self.name, "problem": type(error).__name__})
                    self.values = None
            return self.values

    @property
    def name(self) -> str:
        """The word for it: its first family's name."""
        return self.gauges[0].name


_sources: dict[str, GaugeSource] = {}


def register_gauges(
    *families: ComputedGauge,
    compute: Callable[[datetime], dict[ComputedGauge, GaugeValues]],
    max_age: timedelta = timedelta(seconds=10),
) -> None:
    """Have *families* read by *read*, whose values serve for *every*; a second one takes the first one's place."""
    one = GaugeSource(compute, families, max_age)
    _sources[one.name] = one


def gauge_values(name: str, labels: Mapping[str, str], now: datetime) -> list[float]:
    """Return the values of the family *name* under these labels; none if it has none now."""
    for one in _sources.values():
        for family in one.gauges:
            if family.name == name:
                found = (one.current_values(now) or {}).get(family, {})
                named = ((dict(zip(family.labels, own, strict=True)), value) for own, value in found.items())
                return [value for own, value in named if labels.items() <= own.items()]
    raise UnknownGaugeError(f"Nothing is registered as {name}; there are {', '.join(gauge_names())}.")


def gauge_names() -> list[str]:
    """Return every registered family's name."""
    return sorted(family.name for one in _sources.values() for family in one.gauges)


class GaugeCollector(Collector):
    """All of them, for Prometheus."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: to register this must not read everything."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what can be read, and whether each could be."""
        now = clock.now()
        up: GaugeValues = {}
        for one in _sources.values():
            found = one.current_values(now)
            up[(one.name,)] = float(found is not None)
            for family in one.gauges if found is not None else ():
                yield metric_family(family, (found or {}).get(family, {}))
        yield metric_family(GAUGE_UP, up)


def metric_family(gauge: ComputedGauge, values: GaugeValues) -> GaugeMetricFamily:
    """Return *values* in Prometheus' form."""
    metric = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for labels, number in values.items():
        metric.add_metric(labels, number)
    return metric
