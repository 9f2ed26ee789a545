"""What web processes and workers do besides their requests and tasks."""

from __future__ import annotations

from monitoring import samples
from recommendations.services.extensions.gauges import observe_process
from recommendations.services.serving import records
from recommendations.services.upkeep import process_memory


def register() -> None:
    """Check the memory, send records after tasks, and set the gauges of this process before each sample."""
    process_memory.connect_signals()
    records.connect_signals()
    samples.register_observer(observe_process)
