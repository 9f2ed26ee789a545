"""Keeps the change log short: what every process has had time to read is cut off."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitoring.maintenance import MaintenanceResult
from recommendations.models import ChangeLogMark
from recommendations.stores import change_log

CHANGE_LOG_RETENTION = timedelta(minutes=10)
"""A process that serves nothing for longer forgets what it remembers. Changes the speed, and the size of the log."""


def trim_change_log(*, now: datetime) -> MaintenanceResult:
    """
    Note where the log stands, and cut it off where it stood when a mark was made that is old enough.

    What a long transaction noted counts from when it was committed: its place is not before a mark made until then.
    """
    ChangeLogMark.objects.create(position=change_log.current_log_position(), recorded_at=now)
    old = ChangeLogMark.objects.filter(recorded_at__lte=now - CHANGE_LOG_RETENTION).order_by("-recorded_at", "-pk")
    mark = old.first()
    if mark is None:
        return MaintenanceResult(note="nothing is old enough")
    rows = change_log.delete_changes_before(mark.position)
    old.exclude(pk=mark.pk).delete()
    return MaintenanceResult(rows=rows, note=f"cut off before {mark.position:,}")
