"""
Maintenance tasks: run once per interval however often they are requested, each run with a record.

Apps register their tasks. `recsys_project/schedule.py` has the schedule of every task and the reason for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.db.models import Q

from monitoring.extensions import extensions_of
from monitoring.models import MaintenanceRun, MaintenanceTask

log = logging.getLogger(__name__)

RUN_MAINTENANCE_TASK = "monitoring.run_maintenance_task"
MAX_RUN_TIME = timedelta(hours=1)
"""Celery stops a task that takes longer. A run that is still marked as running after this time was lost."""


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """What a maintenance task did: processed rows, freed or written bytes, and a note."""

    rows: int = 0
    bytes: int = 0
    note: str = ""


MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
"""How far the clocks of two machines may differ. A time further in the future is from a clock that was wrong."""

MaintenanceFunction = Callable[[datetime], MaintenanceResult]
"""Called with the current time. Raises if the task failed."""


class UnknownMaintenanceTaskError(LookupError):
    """No maintenance task has this name."""


extensions = extensions_of(__name__)
_tasks: dict[str, MaintenanceFunction] = {}


def register_maintenance_task(name: str, function: MaintenanceFunction) -> None:
    """Register a maintenance task. A second task with the same name replaces the first."""
    _tasks[name] = function


def maintenance_task_names() -> list[str]:
    """Return the names of all maintenance tasks."""
    extensions.load()
    return list(_tasks)


def run_maintenance_task(*, name: str, now: datetime, interval: timedelta, scope: str = "") -> MaintenanceRun | None:
    """
    Run a maintenance task. Return its record, or None if it is running or ran within half of *interval*.

    *scope* separates the runs of a task that each process or queue does for itself. An error is recorded and raised.
    """
    extensions.load()
    if name not in _tasks:
        raise UnknownMaintenanceTaskError(
            f"No maintenance task is named {name}. Available: {', '.join(sorted(_tasks))}."
        )
    scoped_name = f"{name} ({scope})" if scope else name
    if not claim_maintenance_task(scoped_name, now, interval / 2):
        return None
    start = monotonic()
    try:
        result = _tasks[name](now)
    except Exception as error:
        log.exception("maintenance_task_failed", extra={"maintenance_task": scoped_name})
        record_maintenance_run(
            scoped_name, now, MaintenanceRun.Outcome.FAILED, seconds=monotonic() - start, error=type(error).__name__
        )
        raise
    return record_maintenance_run(
        scoped_name,
        now,
        MaintenanceRun.Outcome.DONE,
        seconds=monotonic() - start,
        rows=result.rows,
        bytes=result.bytes,
        note=result.note[:300],
    )


def claim_maintenance_task(
    name: str, now: datetime, min_age: timedelta, max_run_time: timedelta = MAX_RUN_TIME
) -> bool:
    """
    Claim a task. Return False if it is running, or if its last claim is less than *min_age* ago.

    A claim of a time that is still to come does not count: otherwise a clock that was a day ahead for a moment would
    stop the task for a day. Records the previous run as lost if it exceeded *max_run_time*. The update matches the row
    as it was read, so that only one of several workers succeeds.
    """
    row, _ = MaintenanceTask.objects.get_or_create(name=name)
    is_due = Q(is_running=False) & (Q(claimed_at=None) | Q(claimed_at__lte=now - min_age))
    is_lost = Q(is_running=True, claimed_at__lte=now - max_run_time)
    is_from_wrong_clock = Q(claimed_at__gt=now + MAX_CLOCK_DIFFERENCE)
    unchanged = MaintenanceTask.objects.filter(pk=row.pk, claimed_at=row.claimed_at, is_running=row.is_running)
    if not unchanged.filter(is_due | is_lost | is_from_wrong_clock).update(claimed_at=now, is_running=True):
        return False
    if row.is_running and row.claimed_at:
        MaintenanceRun.objects.create(name=name, started_at=row.claimed_at, outcome=MaintenanceRun.Outcome.LOST)
    return True


def record_maintenance_run(
    name: str,
    started_at: datetime,
    outcome: MaintenanceRun.Outcome,
    *,
    seconds: float,
    rows: int = 0,
    bytes: int = 0,
    note: str = "",
    error: str = "",
) -> MaintenanceRun:
    """Record a run and release its claim. A run that was already given up as lost does not release a newer claim."""
    MaintenanceTask.objects.filter(name=name, claimed_at=started_at).update(is_running=False)
    return MaintenanceRun.objects.create(
        name=name,
        started_at=started_at,
        seconds=seconds,
        rows=rows,
        bytes=bytes,
        outcome=outcome,
        note=note,
        error=error,
    )
