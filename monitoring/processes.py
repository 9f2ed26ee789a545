"""
Memory, CPU time and threads of every process that writes metrics to PROMETHEUS_MULTIPROC_DIR.

prometheus_client does not export these in multiprocess mode.

The live gauges of a process that ended are removed. Its counters stay: otherwise the sums over all processes would
decrease, and rates would be wrong. The directory is emptied when the stack starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from django.conf import settings
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.registry import Collector

from monitoring import metrics
from monitoring.gauges import GaugeValues, metric_family

METRICS_FILE = re.compile(r"_(\d+)\.db$")
PROCESS_KINDS = ("worker", "beat", "flower", "granian")
"""Words of a command line that identify a kind of process. Without any of them, the kind is "other"."""


def known_pids(folder: Path) -> set[int]:
    """Return the ids of all processes that have written metrics to *folder*."""
    return {int(match[1]) for path in folder.glob("*.db") if (match := METRICS_FILE.search(path.name))}


def remove_dead_processes(folder: Path) -> set[int]:
    """Remove the live gauges of processes that ended. Return the ids of the living processes."""
    pids = known_pids(folder)
    alive = {pid for pid in pids if psutil.pid_exists(pid)}
    for pid in pids - alive:
        with suppress(FileNotFoundError):  # a concurrent scrape removed the file
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    return alive


def process_kind(command: list[str]) -> str:
    """Return the kind of a process by its command line: web, worker, beat, flower or other."""
    kind = next(
        (kind for kind in PROCESS_KINDS if any(word == kind or word.endswith(f"/{kind}") for word in command)), "other"
    )
    return "web" if kind == "granian" else kind


class ProcessGaugeCollector(Collector):
    """Collector of the processes that share this process's metrics directory, or of this process without one."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that registering the collector does not inspect processes."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield memory, CPU time and threads of each process."""
        folder = settings.ENV.prometheus_multiproc_dir
        pids = {*remove_dead_processes(Path(folder)), os.getpid()} if folder else {os.getpid()}
        values: dict[metrics.ComputedGauge, GaugeValues] = {
            metrics.PROCESS_BYTES: {},
            metrics.PROCESS_CPU_SECONDS: {},
            metrics.PROCESS_THREADS: {},
        }
        for pid in sorted(pids):
            with suppress(psutil.Error):  # the process has just ended
                process = psutil.Process(pid)
                with process.oneshot():
                    labels = (process_kind(process.cmdline()), str(pid))
                    times = process.cpu_times()
                    values[metrics.PROCESS_BYTES][labels] = process.memory_info().rss
                    values[metrics.PROCESS_CPU_SECONDS][labels] = times.user + times.system
                    values[metrics.PROCESS_THREADS][labels] = process.num_threads()
        for gauge, gauge_values in values.items():
            yield metric_family(gauge, gauge_values)
