"""
Memory and processor time of every process that counts into PROMETHEUS_MULTIPROC_DIR.

Prometheus' own client loses these figures there.

A process that ended takes its live gauges with it; what it counted stays, or rates would go backwards. The folder is
emptied when the stack starts.
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
"""Words of a command line that say what a process is; any other is "other"."""


def known_pids(folder: Path) -> set[int]:
    """Return the processes that ever counted into *folder*."""
    return {int(found[1]) for path in folder.glob("*.db") if (found := METRICS_FILE.search(path.name))}


def remove_dead_processes(folder: Path) -> set[int]:
    """Remove the live gauges of processes that ended; return those that live."""
    pids = known_pids(folder)
    alive = {pid for pid in pids if psutil.pid_exists(pid)}
    for pid in pids - alive:
        with suppress(FileNotFoundError):  # another scrape was faster
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    return alive


def process_kind(command: list[str]) -> str:
    """Return what a process is: web, worker, beat, flower or other."""
    found = next(
        (kind for kind in PROCESS_KINDS if any(word == kind or word.endswith(f"/{kind}") for word in command)), "other"
    )
    return "web" if found == "granian" else found


class ProcessGaugeCollector(Collector):
    """The processes of this machine that count together with this one; this one alone where none do."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: to register this must not look at processes."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what each process takes."""
        folder = settings.ENV.prometheus_multiproc_dir
        pids = {*remove_dead_processes(Path(folder)), os.getpid()} if folder else {os.getpid()}
        figures: dict[metrics.ComputedGauge, GaugeValues] = {
            metrics.PROCESS_BYTES: {},
            metrics.PROCESS_CPU_SECONDS: {},
            metrics.PROCESS_THREADS: {},
        }
        for pid in sorted(pids):
            with suppress(psutil.Error):  # it ended just now
                process = psutil.Process(pid)
                with process.oneshot():
                    labels = (process_kind(process.cmdline()), str(pid))
                    times = process.cpu_times()
                    figures[metrics.PROCESS_BYTES][labels] = process.memory_info().rss
                    figures[metrics.PROCESS_CPU_SECONDS][labels] = times.user + times.system
                    figures[metrics.PROCESS_THREADS][labels] = process.num_threads()
        for family, values in figures.items():
            yield metric_family(family, values)
