"""Trims the change log: deletes entries that every process has had time to read."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitoring.maintenance import MaintenanceResult
from recommendations.models import ChangeLogMark
from recommendations.stores import change_log

CHANGE_LOG_RETENTION = timedelta(minutes=10)
"""A process that has not read the log for longer clears its caches. Changes the speed, and the size of the log."""


def trim_change_log(*, now: datetime) -> MaintenanceResult:
    """
    Record the current log position as a mark, and delete the entries before the newest mark that is old enough.

    Entries of a long transaction are safe: their position is not before a mark that was recorded before the commit.
    """
    ChangeLogMark.objects.create(position=change_log.current_log_position(), recorded_at=now)
    old = ChangeLogMark.objects.filter(recorded_at__lte=now - CHANGE_LOG_RETENTION).order_by("-recorded_at", "-pk")
    mark = old.first()
    if mark is None:
        return MaintenanceResult(note="no mark is old enough")
    rows = change_log.delete_changes_before(mark.position)
    old.exclude(pk=mark.pk).delete()
    return MaintenanceResult(rows=rows, note=f"deleted before position {mark.position:,}")
