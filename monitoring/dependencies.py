"""
The servers that a process calls (Redis, PostgreSQL, Qdrant), each with one circuit breaker.

A server that hangs costs every call its timeout. After `MAX_FAILURES` of them in a row the process does without the
server: calls fail at once for `COOL_OFF_SECONDS`, then one call tries again. Everything in a process that calls a
server shares its breaker, so a request waits for a server that hangs once, and not once for each cache.
"""

from __future__ import annotations

import logging
import os
from time import monotonic

from monitoring.breaker import Breaker, BreakerState

log = logging.getLogger(__name__)

MAX_FAILURES = 2
WINDOW_SECONDS = 30.0
COOL_OFF_SECONDS = 5.0


class Dependency:
    """A server and its breaker. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._breaker = Breaker(failures=MAX_FAILURES, window_seconds=WINDOW_SECONDS, cool_off_seconds=COOL_OFF_SECONDS)

    def allows_call(self) -> bool:
        """Return whether the server may be called. The caller must then record whether the server responded."""
        return self._breaker.allows(monotonic())

    def record_failure(self, error: Exception) -> None:
        """Count a call that the server did not respond to."""
        was_closed = self._breaker.state(monotonic()) is BreakerState.CLOSED
        self._breaker.record_failure(monotonic())
        if was_closed and self._breaker.state(monotonic()) is BreakerState.OPEN:
            log.warning("dependency_lost", extra={"dependency": self.name, "problem": type(error).__name__})

    def record_response(self) -> None:
        """Note that the server responded, if only with an error."""
        if self._breaker.state(monotonic()) is not BreakerState.CLOSED:
            self._breaker.record_success()
            log.warning("dependency_back", extra={"dependency": self.name})


_dependencies: dict[tuple[int, str], Dependency] = {}


def dependency(name: str) -> Dependency:
    """Return the server *name* as this process knows it. A forked child does not share locks with its parent."""
    key = (os.getpid(), name)
    return _dependencies.get(key) or _dependencies.setdefault(key, Dependency(name))


def reset_dependencies() -> None:
    """Forget every failure. For tests."""
    _dependencies.clear()
