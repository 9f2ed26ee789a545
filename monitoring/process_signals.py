"""The receivers of a web process and of a worker, which other commands do without."""

from __future__ import annotations

from monitoring import metrics_endpoint, query_timing, samples, workers


def register() -> None:
    """Connect them."""
    query_timing.connect_signals()
    workers.connect_signals()
    samples.connect_signals()
    metrics_endpoint.connect_signals()
