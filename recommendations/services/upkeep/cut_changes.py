"""Keeps the change log short: what every process has had time to read is cut off."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitoring.maintenance import Did
from recommendations.models import ChangeMark
from recommendations.stores import change_log

KEPT = timedelta(minutes=10)
"""A process that serves nothing for longer forgets what it remembers. Changes the speed, and the size of the log."""


def cut_changes(*, now: datetime) -> Did:
    """
    Note where the log stands, and cut it off where it stood when a mark was made that is old enough.

    What a long transaction noted counts from when it was committed: its place is not before a mark made until then.
    """
    ChangeMark.objects.create(position=change_log.position(), at=now)
    old = ChangeMark.objects.filter(at__lte=now - KEPT).order_by("-at", "-pk")
    mark = old.first()
    if mark is None:
        return Did(note="nothing is old enough")
    rows = change_log.cut_before(mark.position)
    old.exclude(pk=mark.pk).delete()
    return Did(rows=rows, note=f"cut off before {mark.position:,}")
