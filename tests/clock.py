"""A clock that a test advances, so that expiry is tested without waiting."""

from __future__ import annotations

from collections.abc import Callable

import redis


class Clock:
    """The time of one test, in Unix seconds. In-memory stores read it, and the keys of a real Redis can follow it."""

    def __init__(self, now: float = 1_780_000_000.0) -> None:
        self.now = now
        self._on_advance: list[Callable[[float], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock by *seconds*."""
        self.now += seconds
        for callback in self._on_advance:
            callback(seconds)

    def on_advance(self, callback: Callable[[float], None]) -> None:
        """Call *callback* with the seconds each time the clock advances."""
        self._on_advance.append(callback)

    def expire_keys_of(self, client: redis.Redis) -> redis.Redis:
        """Shorten the time to live of every key of *client* when this clock advances. Return *client*."""
        self.on_advance(lambda seconds: shorten_ttls(client, seconds))
        return client


def shorten_ttls(client: redis.Redis, seconds: float) -> None:
    """Shorten the time to live of every key by *seconds*. A key without any time left is deleted, as Redis does."""
    for key in client.scan_iter():
        remaining_ms = client.pttl(key)
        if remaining_ms >= 0:
            client.pexpire(key, int(remaining_ms - 1000 * seconds))
