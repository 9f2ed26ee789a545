"""
What is done by the clock, once however often it is asked for, with a record of what it did.

Apps register their duties; when each runs, and why, is the one table in `recsys_project/schedule.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.db.models import Q

from monitoring.models import MaintenanceRun, MaintenanceTask

log = logging.getLogger(__name__)

RUN_MAINTENANCE_TASK = "monitoring.run_maintenance_task"
MAX_RUN_TIME = timedelta(hours=1)
"""Celery ends a task that takes longer: what still counts as running then was lost."""


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """What a duty did."""

    rows: int = 0
    bytes: int = 0
    note: str = ""


MaintenanceFunction = Callable[[datetime], MaintenanceResult]
"""Is handed this moment; raises if it could not be done."""


class UnknownMaintenanceTaskError(LookupError):
    """Nothing of this name is registered."""


_tasks: dict[str, MaintenanceFunction] = {}


def register_maintenance_task(name: str, function: MaintenanceFunction) -> None:
    """Let *duty* be asked for by this name; a second one of the same name takes the first one's place."""
    _tasks[name] = function


def maintenance_task_names() -> list[str]:
    """Return what can be asked for."""
    return list(_tasks)


def run_maintenance_task(*, name: str, now: datetime, interval: timedelta, scope: str = "") -> MaintenanceRun | None:
    """
    Do a duty that is due *every* so often, and return its record; None if it runs, or ran a moment ago.

    *scope* sets apart duties that each process or queue has for itself. An error is recorded and raised.
    """
    if name not in _tasks:
        raise UnknownMaintenanceTaskError(f"No duty is called {name}; there are {', '.join(sorted(_tasks))}.")
    known = f"{name} ({scope})" if scope else name
    if not claim_maintenance_task(known, now, interval / 2):
        return None
    began = monotonic()
    try:
        did = _tasks[name](now)
    except Exception as error:
        log.exception("maintenance_failed", extra={"maintenance_task": known})
        record_maintenance_run(
            known, now, MaintenanceRun.Outcome.FAILED, seconds=monotonic() - began, error=type(error).__name__
        )
        raise
    return record_maintenance_run(
        known,
        now,
        MaintenanceRun.Outcome.DONE,
        seconds=monotonic() - began,
        rows=did.rows,
        bytes=did.bytes,
        note=did.note[:300],
    )


def claim_maintenance_task(name: str, now: datetime, min_age: timedelta) -> bool:
    """Take a duty unless somebody has it, or had it less than *pause* ago. Note it if a run before was lost."""
    row, _ = MaintenanceTask.objects.get_or_create(name=name)
    rested = Q(is_running=False) & (Q(claimed_at=None) | Q(claimed_at__lte=now - min_age))
    lost = Q(is_running=True, claimed_at__lte=now - MAX_RUN_TIME)
    same = MaintenanceTask.objects.filter(pk=row.pk, claimed_at=row.claimed_at, is_running=row.is_running)
    if not same.filter(rested | lost).update(claimed_at=now, is_running=True):
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
    """Write what a run did, and let the next one begin. A run that took too long and was given up takes nothing."""
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
