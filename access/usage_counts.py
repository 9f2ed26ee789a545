"""Counts of the responses to each caller per minute, for the last hour and all processes: in Redis, or in memory."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Protocol, cast

import redis

log = logging.getLogger(__name__)

HISTORY_MINUTES = 60
"""The usual rate is the mean over the minutes with requests within this time."""

Counts = Mapping[tuple[int, str], int]
"""Number of responses by minute (of Unix time) and by kind of response."""


class UsageCounts(Protocol):
    """The counts of all callers, summed over all processes."""

    def add(self, counts: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """
        Add the *counts* of each caller. Return all counts of these callers since `HISTORY_MINUTES` before *minute*.

        Older counts are removed. If the counts cannot be added, they are lost: the error is logged and the result is
        empty.
        """
        ...


class RedisUsageCounts:
    """`UsageCounts` in Redis: a hash per caller that expires an hour after the caller's last request."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def add(self, counts: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """See `UsageCounts.add`."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for caller, caller_counts in counts.items():
                    for (at, event), count in caller_counts.items():
                        pipe.hincrby(redis_key(caller), f"{at}:{event}", count)
                    pipe.expire(redis_key(caller), 60 * (HISTORY_MINUTES + 2))
                    pipe.hgetall(redis_key(caller))
                hashes = [reply for reply in pipe.execute() if isinstance(reply, dict)]
            return {
                caller: self._remove_old(caller, cast("dict[bytes, bytes]", hash_), minute)
                for caller, hash_ in zip(counts, hashes, strict=True)
            }
        except redis.RedisError:
            log.exception("usage_not_counted")
            return {}

    def _remove_old(self, caller: str, hash_: dict[bytes, bytes], minute: int) -> Counts:
        """Remove the counts that are too old from the caller's hash. Return the others."""
        old = [field for field in hash_ if parse_field(field)[0] < minute - HISTORY_MINUTES]
        if old:
            self._client.hdel(redis_key(caller), *old)
        return {parse_field(field): int(count) for field, count in hash_.items() if field not in old}


class MemoryUsageCounts:
    """`UsageCounts` in memory, for tests. `tests/spec/` runs the same tests on it and on `RedisUsageCounts`."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[int, str]]] = {}

    def add(self, counts: Mapping[str, Counts], minute: int) -> dict[str, Counts]:
        """See `UsageCounts.add`."""
        for caller, caller_counts in counts.items():
            total = Counter(self._counts.get(caller, {}))
            total.update(caller_counts)
            self._counts[caller] = Counter({at: n for at, n in total.items() if at[0] >= minute - HISTORY_MINUTES})
        return {caller: dict(self._counts[caller]) for caller in counts}


def redis_key(caller: str) -> str:
    """Return the Redis key of a caller's counts."""
    return f"recsys:usage:{caller}"


def parse_field(field: bytes) -> tuple[int, str]:
    """Return the minute and the kind of response of a hash field."""
    minute, _, event = field.decode().partition(":")
    return int(minute), event
