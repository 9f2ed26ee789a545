"""
The compiled flags of this process. Every two seconds a query checks for changes; the flags are reloaded only then.

The snapshot needs only the database. While the database cannot be read, the last flags stay in use.
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
from flags.changed import flags_changed
from flags.experiments import queries
from flags.experiments.rules import RunningExperiment
from flags.models import PayloadVersion
from monitoring import clock
from monitoring.metrics import FLAG_ERRORS

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""Every process applies a change within this time; until then it may serve the old value."""

ChangeMarker = tuple[UUID | None, tuple[RunningExperiment, ...]]
"""The token of the last change and the running experiments. A different marker means that the flags changed."""

EMPTY_PAYLOAD = payload.Payload(rollout.compile_rollouts(()), None)


class FlagSnapshot:
    """The compiled flags, the change marker they were built from, and the time of the last check."""

    def __init__(self, read_clock: Callable[[], datetime]) -> None:
        self._clock = read_clock
        self._payload: payload.Payload | None = None
        self._change_marker: ChangeMarker | None = None
        self._checked_at = -math.inf
        self._lock = threading.Lock()

    def current(self) -> rollout.CompiledFlags:
        """Return the flags, at most `REFRESH_SECONDS` old while the database answers."""
        cached = self._payload
        if cached is not None and monotonic() - self._checked_at <= REFRESH_SECONDS:
            return cached.compiled
        # One thread refreshes; the others use the cached flags meanwhile. Threads wait only for the first load.
        if self._lock.acquire(blocking=cached is None):
            try:
                if monotonic() - self._checked_at > REFRESH_SECONDS:
                    self._refresh()
            finally:
                self._lock.release()
        return (self._payload or EMPTY_PAYLOAD).compiled

    def invalidate(self, **_: object) -> None:
        """Reload the flags at the next use. If that fails, the cached flags stay in use."""
        self._change_marker, self._checked_at = None, -math.inf

    def _refresh(self) -> None:
        try:
            now = self._clock()
            marker: ChangeMarker = (
                PayloadVersion.objects.values_list("token", flat=True).first(),
                queries.load_running_experiments(),
            )
            valid_until = self._payload.valid_until if self._payload else None
            is_outdated = valid_until is not None and now >= valid_until
            if marker != self._change_marker or self._payload is None or is_outdated:
                self._payload = payload.load_payload(marker[1], now)
                self._change_marker = marker
        except DatabaseError:
            log.exception("flag_payload_not_loaded")
            FLAG_ERRORS.labels("unreadable").inc()
        self._checked_at = monotonic()


flag_snapshot = FlagSnapshot(clock.now)
"""The snapshot of this process."""
flags_changed.connect(flag_snapshot.invalidate, dispatch_uid="snapshot")
