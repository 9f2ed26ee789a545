"""
A circuit breaker: stops calls to a part that fails repeatedly, then lets one trial through, then all calls.

No library is used: libraries either hold a lock around the guarded call (pybreaker 1.4: one feed at a time in a
process) or read the clock themselves. See docs/decisions/0013-breaker-and-process-caches.md.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import IntEnum


class BreakerState(IntEnum):
    """Whether a part may be called. The values are those of the metric."""

    CLOSED = 0
    """Every call is allowed."""
    HALF_OPEN = 1
    """One call is allowed, as a trial."""
    OPEN = 2
    """No call is allowed."""


class Breaker:
    """Counts the failures of one part. Thread-safe. Times are Unix seconds, passed in by the caller."""

    def __init__(self, *, failures: int = 5, window_seconds: float = 30.0, cool_off_seconds: float = 15.0) -> None:
        """Open after *failures* failures within *window_seconds*; allow one trial after *cool_off_seconds*."""
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
        """Return whether the part may be called. In the half-open state only the first caller gets True."""
        with self._lock:
            state = self.state(now)
            if state is BreakerState.HALF_OPEN:
                # If the outcome of the trial is never reported, another trial is allowed one cool-off later.
                self._next_trial_at = now + self._cool_off_seconds
            return state is not BreakerState.OPEN

    def record_failure(self, now: float) -> None:
        """Count a failure, and open the breaker if there were too many or a trial was under way."""
        with self._lock:
            self._failure_times.append(now)
            recent = sum(now - at < self._window_seconds for at in self._failure_times)
            if self._next_trial_at is not None or recent == self._failure_times.maxlen:
                self._next_trial_at = now + self._cool_off_seconds

    def record_success(self) -> None:
        """Close the breaker again and reset the failure count. Does nothing while the breaker is closed."""
        with self._lock:
            if self._next_trial_at is not None:
                self._next_trial_at = None
                self._failure_times.clear()
