"""A clock that a test moves by hand, so that what expires is tested without waiting."""

from __future__ import annotations

from collections.abc import Callable

import redis


class Clock:
    """The time of one test, in Unix seconds. It is the clock of an in-memory store, and can age a real Redis."""

    def __init__(self, now: float = 1_780_000_000.0) -> None:
        self.now = now
        self._on_advance: list[Callable[[float], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += seconds
        for age in self._on_advance:
            age(seconds)

    def on_advance(self, age: Callable[[float], None]) -> None:
        """Call *age* with the seconds each time that some pass."""
        self._on_advance.append(age)

    def ages(self, client: redis.Redis) -> redis.Redis:
        """Take from the time to live of every key of *client*'s database what passes here; return *client*."""
        self.on_advance(lambda seconds: shorten_lives(client, seconds))
        return client


def shorten_lives(client: redis.Redis, seconds: float) -> None:
    """Take *seconds* from every key's time to live; a key that has no more than that is gone, as Redis does it."""
    for key in client.scan_iter():
        left = client.pttl(key)
        if left >= 0:
            client.pexpire(key, int(left - 1000 * seconds))
