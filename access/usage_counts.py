"""Adds up what every process saw of each caller, by minute, for the last hour: in Redis, or in memory for tests."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Protocol, cast

import redis

log = logging.getLogger(__name__)

KEPT_MINUTES = 60
"""What is usual is the mean of the minutes in use within the last hour."""

Counts = Mapping[tuple[int, str], int]
"""How many by minute (of Unix time) and by what."""


class UsageCounts(Protocol):
    """The counts of all callers, of all processes together."""

    def add(self, seen: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """
        Add what was *seen* of each caller, and return all counts of these callers from the hour before *minute* on.

        Older counts are removed. Counts that cannot be added are lost: nothing is returned, and the error is logged.
        """
        ...


class RedisUsageCounts:
    """Keeps `UsageCounts`: a hash for each caller, gone an hour after its last request."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def add(self, seen: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """See `UsageCounts.add`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for who, counts in seen.items():
                    for (at, what), count in counts.items():
                        pipe.hincrby(key_of(who), f"{at}:{what}", count)
                    pipe.expire(key_of(who), 60 * (KEPT_MINUTES + 2))
                    pipe.hgetall(key_of(who))
                answers = [answer for answer in pipe.execute() if isinstance(answer, dict)]
            return {
                who: self._without_old(who, cast("dict[bytes, bytes]", answer), minute)
                for who, answer in zip(seen, answers, strict=True)
            }
        except redis.RedisError:
            log.exception("usage_not_counted")
            return {}

    def _without_old(self, who: str, answer: dict[bytes, bytes], minute: int) -> Counts:
        """Return the counts in *answer*, and remove from Redis those that are too old."""
        old = [field for field in answer if read(field)[0] < minute - KEPT_MINUTES]
        if old:
            self._client.hdel(key_of(who), *old)
        return {read(field): int(count) for field, count in answer.items() if field not in old}


class MemoryUsageCounts:
    """The in-memory twin of `RedisUsageCounts` for tests; `tests/spec/` holds both to the same laws."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[int, str]]] = {}

    def add(self, seen: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """See `UsageCounts.add`."""
        for who, counts in seen.items():
            total = Counter(self._counts.get(who, {}))
            total.update(counts)
            self._counts[who] = Counter({at: n for at, n in total.items() if at[0] >= minute - KEPT_MINUTES})
        return {who: dict(self._counts[who]) for who in seen}


def key_of(who: str) -> str:
    """Return where Redis keeps a caller's counts."""
    return f"recsys:usage:{who}"


def read(field: bytes) -> tuple[int, str]:
    """Return the minute and what was counted."""
    minute, _, what = field.decode().partition(":")
    return int(minute), what
