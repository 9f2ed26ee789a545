"""
This process's flags. It looks every two seconds whether anything changed, and reads again only then.

It needs the database and nothing else; while that cannot be read, the last flags hold.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from uuid import UUID

from django.db import DatabaseError

from flags import payload, rollout
from flags.experiments import queries
from flags.experiments.rules import RunningExperiment
from flags.models import PayloadVersion
from monitoring import clock
from monitoring.metrics import FLAG_ERRORS

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""A change holds in every process after this time. Changes the answer for that long."""

ChangeMarker = tuple[UUID | None, tuple[RunningExperiment, ...]]
"""What tells that something changed: the token of the last change, and the experiments that run."""

EMPTY_PAYLOAD = payload.Payload(rollout.compile_rollouts(()), None)


class FlagSnapshot:
    """The compiled flags, what they were made from, and when somebody last looked."""

    def __init__(self, read_clock: Callable[[], datetime]) -> None:
        self._clock = read_clock
        self._payload: payload.Payload | None = None
        self._change_marker: ChangeMarker | None = None
        self._checked_at = -math.inf
        self._lock = threading.Lock()

    def current(self) -> rollout.CompiledFlags:
        """Return the flags, at most `REFRESH_SECONDS` old while the database answers."""
        held = self._payload
        if held is not None and monotonic() - self._checked_at <= REFRESH_SECONDS:
            return held.compiled
        # Others go on with what there is while one looks; only the first look is waited for.
        if self._lock.acquire(blocking=held is None):
            try:
                if monotonic() - self._checked_at > REFRESH_SECONDS:
                    self._refresh()
            finally:
                self._lock.release()
        return (self._payload or EMPTY_PAYLOAD).compiled

    def invalidate(self) -> None:
        """Read again at the next question; if that fails, what is known still holds."""
        self._change_marker, self._checked_at = None, -math.inf

    def _refresh(self) -> None:
        try:
            now = self._clock()
            seen: ChangeMarker = (
                PayloadVersion.objects.values_list("token", flat=True).first(),
                queries.load_running_experiments(),
            )
            due = self._payload is not None and (turn := self._payload.valid_until) is not None and now >= turn
            if seen != self._change_marker or self._payload is None or due:
                self._payload = payload.load_payload(seen[1], now)
                self._change_marker = seen
        except DatabaseError:
            log.exception("flags_unreadable")
            FLAG_ERRORS.labels("unreadable").inc()
        self._checked_at = monotonic()


flag_snapshot = FlagSnapshot(clock.now)
"""This process's own."""
