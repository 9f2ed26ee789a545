"""The receivers of a web process and of a worker, which other commands do without."""

from __future__ import annotations

from monitoring import metrics_endpoint, samples, workers


def register() -> None:
    """Connect them."""
    workers.connect_signals()
    samples.connect_signals()
    metrics_endpoint.connect_signals()
