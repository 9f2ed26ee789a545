"""
Keeps a part that fails again and again from being asked for a while: then one trial, and if it goes well, all again.

Of our own, since libraries either hold a lock around the guarded call (pybreaker 1.4: one feed at a time in a process),
or read the clock themselves; see docs/decisions/0013-breaker-and-process-caches.md.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import IntEnum


class BreakerState(IntEnum):
    """Whether a part is asked. The value is that of the metric."""

    CLOSED = 0
    """It is asked."""
    HALF_OPEN = 1
    """It may be asked once, as a trial."""
    OPEN = 2
    """It is not asked."""


class Breaker:
    """Counts failures. Safe under threads; moments are Unix seconds, handed in."""

    def __init__(self, *, failures: int = 5, window_seconds: float = 30.0, cool_off_seconds: float = 15.0) -> None:
        """Open after *failures* within *window_seconds*; after *cool_off_seconds* let one trial through."""
        self._lock = threading.Lock()
        self._failure_times: deque[float] = deque(maxlen=failures)
        self._window_seconds = window_seconds
        self._cool_off_seconds = cool_off_seconds
        self._next_trial_at: float | None = None

    def state(self, now: float) -> BreakerState:
        """Return the state at *now*."""
        if self._next_trial_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._next_trial_at else BreakerState.HALF_OPEN

    def allows(self, now: float) -> bool:
        """Return whether the part may be asked; in the half-open state one caller is told so, the others wait."""
        with self._lock:
            state = self.state(now)
            if state is BreakerState.HALF_OPEN:
                # A trial whose outcome nobody reports is followed by another, a cool-off later.
                self._next_trial_at = now + self._cool_off_seconds
            return state is not BreakerState.OPEN

    def record_failure(self, now: float) -> None:
        """Take note that the part failed."""
        with self._lock:
            self._failure_times.append(now)
            recent = sum(now - at < self._window_seconds for at in self._failure_times)
            if self._next_trial_at is not None or recent == self._failure_times.maxlen:
                self._next_trial_at = now + self._cool_off_seconds

    def record_success(self) -> None:
        """Take note that the part did its work: it is asked by all again, and what failed before is forgotten."""
        with self._lock:
            if self._next_trial_at is not None:
                self._next_trial_at = None
                self._failure_times.clear()
