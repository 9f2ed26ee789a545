"""
Gauges that are computed at a Prometheus scrape or at the evaluation of an alert rule. Each app registers its own.

A gauge that cannot be computed is left out and reported by `recsys_gauge_up`; it does not affect the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitoring import clock
from monitoring.extensions import extensions_of
from monitoring.metrics import GAUGE_UP, ComputedGauge

log = logging.getLogger(__name__)

GaugeValues = dict[tuple[str, ...], float]
"""Values by label values, which are in the order of `ComputedGauge.labels`."""


class UnknownGaugeError(LookupError):
    """No gauge has this name."""


@dataclass
class GaugeSource:
    """A function that computes gauges, with its last values. Concurrent callers wait for one computation."""

    compute: Callable[[datetime], dict[ComputedGauge, GaugeValues]]
    gauges: tuple[ComputedGauge, ...]
    max_age: timedelta
    lock: threading.Lock = field(default_factory=threading.Lock)
    computed_at: datetime | None = None
    values: dict[ComputedGauge, GaugeValues] | None = None

    def current_values(self, now: datetime) -> dict[ComputedGauge, GaugeValues] | None:
        """Return values at most *max_age* old, or None if the computation failed."""
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
        """The name of the first gauge."""
        return self.gauges[0].name


extensions = extensions_of(__name__)
_sources: dict[str, GaugeSource] = {}


def register_gauges(
    *computed: ComputedGauge,
    compute: Callable[[datetime], dict[ComputedGauge, GaugeValues]],
    max_age: timedelta = timedelta(seconds=10),
) -> None:
    """
    Register gauges that *compute* returns. Their values are reused for *max_age*.

    A second registration of the same first gauge replaces the first.
    """
    source = GaugeSource(compute, computed, max_age)
    _sources[source.name] = source


def registered_sources() -> Iterable[GaugeSource]:
    """Return the sources of all gauges."""
    extensions.load()
    return _sources.values()


def gauge_values(name: str, labels: Mapping[str, str], now: datetime) -> list[float]:
    """
    Return the values of the gauge *name* that have these labels, an empty list if there are none.

    Raises `UnknownGaugeError` if the gauge is not registered.
    """
    for source in registered_sources():
        for gauge in source.gauges:
            if gauge.name == name:
                values = (source.current_values(now) or {}).get(gauge, {})
                labeled = ((dict(zip(gauge.labels, key, strict=True)), value) for key, value in values.items())
                return [value for value_labels, value in labeled if labels.items() <= value_labels.items()]
    raise UnknownGaugeError(f"No gauge is named {name}. Registered: {', '.join(gauge_names())}.")


def gauge_names() -> list[str]:
    """Return the names of all registered gauges."""
    return sorted(gauge.name for source in registered_sources() for gauge in source.gauges)


class GaugeCollector(Collector):
    """Collector of all registered gauges for Prometheus."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that registering the collector does not compute every gauge."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges that can be computed, and `recsys_gauge_up` of each source."""
        now = clock.now()
        up: GaugeValues = {}
        for source in registered_sources():
            values = source.current_values(now)
            up[(source.name,)] = float(values is not None)
            for gauge in source.gauges if values is not None else ():
                yield metric_family(gauge, (values or {}).get(gauge, {}))
        yield metric_family(GAUGE_UP, up)


def metric_family(gauge: ComputedGauge, values: GaugeValues) -> GaugeMetricFamily:
    """Return *values* as a Prometheus metric family."""
    metric = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric
