"""What the rest asks of flags. A process keeps the compiled flags for two seconds, and its last ones if it must."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from time import monotonic

from django.db import DatabaseError
from growthbook.common_types import GlobalContext

from flags import rollout
from flags.models import Flag

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""A change holds in every process after this time. Changes the answer for that long."""


class Compiled:
    """This process's compiled flags, and when they were read."""

    def __init__(self) -> None:
        self._context: GlobalContext | None = None
        self._read_at = 0.0

    def current(self) -> GlobalContext:
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
            self._context = rollout.compile_rollouts(rollout.Rollout(*row) for row in rows)
        except DatabaseError:
            log.exception("flags_unreadable")
        self._read_at = monotonic()


compiled = Compiled()


def is_on(*, key: str, unit_id: str) -> bool:
    """Return whether the flag *key* is on for this unit (a member's id). A flag without a row is off."""
    return rollout.is_on(compiled.current(), key, unit_id)


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
