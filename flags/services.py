"""What the rest asks of flags. A process keeps the compiled flags for two seconds, and its last ones if it must."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from time import monotonic

from django.db import DatabaseError

from flags import rollout
from flags.experiments import reading
from flags.experiments.rules import Answer
from flags.models import Flag

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""A change holds in every process after this time. Changes the answer for that long."""


class Compiled:
    """This process's compiled flags, and when they were read."""

    def __init__(self) -> None:
        self._context: rollout.Compiled | None = None
        self._read_at = 0.0

    def current(self) -> rollout.Compiled:
        """Return the flags, read again if they are older than the refresh interval."""
        if self._context is None or monotonic() - self._read_at > REFRESH_SECONDS:
            self._read()
        return self._context or rollout.compile_rollouts(())

    def forget(self) -> None:
        """Read again at the next question; if that fails, what is known still holds."""
        self._read_at = -math.inf

    def _read(self) -> None:
        try:
            rows = Flag.objects.values_list("key", "is_enabled", "rollout_percentage")
            self._context = rollout.compile_rollouts([rollout.Rollout(*row) for row in rows], reading.running())
        except DatabaseError:
            log.exception("flags_unreadable")
        self._read_at = monotonic()


compiled = Compiled()


def evaluate(*, key: str, unit_id: str) -> Answer:
    """Return what the flag is worth for this unit, and by which variant. A flag without a row is worth None."""
    current = compiled.current()
    return rollout.evaluate(current, key, unit_id, assigned_before(current, key, unit_id))


def assigned_before(current: rollout.Compiled, key: str, unit_id: str) -> dict[str, str]:
    """Return the unit's earlier variants where they hold; read only then, since this is the road of a request."""
    rows = current.reading_assignments(key)
    try:
        return reading.assigned(rows, unit_id) if rows else {}
    except DatabaseError:
        log.exception("assignments_unreadable", extra={"flag": key})
        return {}


def is_on(*, key: str, unit_id: str) -> bool:
    """Return whether the flag *key* is on for this unit (a member's id). A flag without a row is off."""
    return evaluate(key=key, unit_id=unit_id).value is True


def change_flag(*, key: str, now: datetime, is_enabled: bool | None = None, percentage: int | None = None) -> Flag:
    """Change a flag, the only way that the code does. Every process obeys within `REFRESH_SECONDS`."""
    flag = Flag.objects.get(key=key)
    flag.is_enabled = flag.is_enabled if is_enabled is None else is_enabled
    flag.rollout_percentage = flag.rollout_percentage if percentage is None else percentage
    flag.changed_at = now
    flag.full_clean()
    flag.save()
    compiled.forget()
    return flag
