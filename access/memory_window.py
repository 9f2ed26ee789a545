"""The in-memory `RateWindow` for tests. `tests/spec/` runs the same tests on it and on `RateLimiter`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from access.throttles import WINDOW_SECONDS, RateLimitBucket, RateLimitDecision, build_decision


class WindowPair(NamedTuple):
    """The current and the previous window of a caller."""

    previous_count: int
    """Units admitted in the previous window."""
    current_count: int
    """Units admitted in the current window."""
    started_at: float
    """Start of the current window, by the clock."""


class MemoryWindow:
    """A `RateWindow` in a dictionary, with the arithmetic of the library's Lua scripts."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """*clock* returns the current time in seconds."""
        self._clock = clock
        self._windows: dict[tuple[str, str], WindowPair] = {}

    def admit(self, bucket: RateLimitBucket, units: int = 1, earlier: int = 0) -> RateLimitDecision:
        """See `RateWindow.admit`."""
        previous, count, started_at = self._current_windows(bucket)
        ends_in = started_at + WINDOW_SECONDS - self._clock()
        weighted = int(previous * ends_in / WINDOW_SECONDS) + count
        allowed = weighted + units <= bucket.per_minute
        if allowed:
            count += units
            self._windows[bucket.policy, bucket.name] = WindowPair(previous, count, started_at)
        ttls = int(1000 * ends_in), int(1000 * (ends_in + WINDOW_SECONDS))
        return build_decision(
            bucket, allowed=allowed, window=[previous, ttls[0], count, ttls[1]], retry_units=units + earlier
        )

    def _current_windows(self, bucket: RateLimitBucket) -> WindowPair:
        """Return the caller's windows at the current time. A window that has ended becomes the previous one."""
        now = self._clock()
        windows = self._windows.get((bucket.policy, bucket.name), WindowPair(0, 0, now))
        elapsed = now - windows.started_at
        if elapsed >= 2 * WINDOW_SECONDS:
            return WindowPair(0, 0, now)
        if elapsed > WINDOW_SECONDS:
            return WindowPair(windows.current_count, 0, windows.started_at + WINDOW_SECONDS)
        return windows
