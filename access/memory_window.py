"""The in-memory twin of `throttles.Window` for tests; `tests/spec/` holds both to the same laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from access.throttles import WINDOW_SECONDS, RateLimitBucket, RateLimitDecision, build_decision


class Present(NamedTuple):
    """A caller's windows: the one under way, and the one before it."""

    before: int
    """Requests let in during the window before."""
    requests: int
    """Requests let in during this window."""
    began_at: float
    """When this window began, by the clock."""


class MemoryWindow:
    """Keeps `RateWindow` in a dictionary, by the arithmetic of the library's Lua scripts."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """*clock* returns the present moment in seconds."""
        self._clock = clock
        self._windows: dict[tuple[str, str], Present] = {}

    def admit(self, counted: RateLimitBucket) -> RateLimitDecision:
        """See `RateWindow.admit`."""
        before, count, began_at = self._present(counted)
        ends_in = began_at + WINDOW_SECONDS - self._clock()
        weighted = int(before * ends_in / WINDOW_SECONDS) + count
        allowed = weighted < counted.per_minute
        if allowed:
            count += 1
            self._windows[counted.policy, counted.name] = Present(before, count, began_at)
        window: list[bytes | int | None] = [before, int(1000 * ends_in), count, int(1000 * (ends_in + WINDOW_SECONDS))]
        return build_decision(counted, allowed=allowed, window=window)

    def _present(self, counted: RateLimitBucket) -> Present:
        """Return the caller's windows as of now: a window that is over becomes the one before, or is forgotten."""
        now = self._clock()
        present = self._windows.get((counted.policy, counted.name), Present(0, 0, now))
        passed = now - present.began_at
        if passed >= 2 * WINDOW_SECONDS:
            return Present(0, 0, now)
        if passed > WINDOW_SECONDS:
            return Present(present.requests, 0, present.began_at + WINDOW_SECONDS)
        return present
