"""
Watches for unusual use: far more requests than usual, ids tried out, refusals again and again.

A process adds up what it sees and tells Redis every few seconds, so that a request costs a few additions; Redis adds
up the processes. A process that dies takes the last few seconds with it. Without Redis nobody watches, and that is
counted by the throttles.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import cast

import redis
from django.conf import settings
from django.db import DatabaseError

from access.masks import masked
from access.models import ApiKey, UsageAlert
from monitoring.metrics import USAGE_ALERTS

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
KEPT_MINUTES = 60
"""What is usual is the mean of the minutes in use within the last hour."""
RECENT_MINUTES = 5
LEAST_MINUTES = 5
"""With fewer minutes in use than this, nobody knows what is usual."""
REFUSALS = 20
MISSING = 50
SPIKE_FACTOR = 5
SPIKE_LEAST = 300
"""Requests a minute under which nothing is a spike."""
TIMEOUT_SECONDS = 0.25

REQUEST, NOT_FOUND, REFUSED = "r", "m", "f"
Counts = Mapping[tuple[int, str], int]
"""How many by minute (of Unix time) and by what."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unusual: how many there were, and how many there may be."""

    kind: UsageAlert.Kind
    count: int
    usual: float


def findings(counts: Counts, minute: int) -> list[Finding]:
    """Return what is unusual about *counts* in the minutes up to *minute*."""

    def recent(what: str) -> int:
        return sum(counts.get((m, what), 0) for m in range(minute - RECENT_MINUTES + 1, minute + 1))

    found = []
    if (refused := recent(REFUSED)) >= REFUSALS:
        found.append(Finding(UsageAlert.Kind.REFUSALS, refused, REFUSALS))
    if (missing := recent(NOT_FOUND)) >= MISSING and 2 * missing >= recent(REQUEST):
        found.append(Finding(UsageAlert.Kind.ENUMERATION, missing, MISSING))
    before = [n for (m, what), n in counts.items() if what == REQUEST and minute - KEPT_MINUTES <= m < minute]
    now = counts.get((minute, REQUEST), 0)
    if len(before) >= LEAST_MINUTES and now > max(SPIKE_LEAST, SPIKE_FACTOR * (usual := sum(before) / len(before))):
        found.append(Finding(UsageAlert.Kind.SPIKE, now, usual))
    return found


class Usage:
    """What this process saw and has not told Redis yet."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._seen: dict[str, dict[tuple[int, str], int]] = {}
        self._flush_at = 0.0

    def note(self, who: str, status: int, now: datetime) -> None:
        """Count an answer with this status to a caller; now and then, tell Redis and look at the whole."""
        moment = now.timestamp()
        minute = int(moment // 60)
        with self._lock:
            seen = self._seen.setdefault(who, defaultdict(int))
            seen[minute, REQUEST] += 1
            if status == 404:
                seen[minute, NOT_FOUND] += 1
            elif status in (401, 403):
                seen[minute, REFUSED] += 1
            if moment < self._flush_at:
                return
            self._flush_at = moment + FLUSH_SECONDS
            told, self._seen = self._seen, {}
        self._tell(told, minute, now)

    def _tell(self, told: dict[str, dict[tuple[int, str], int]], minute: int, now: datetime) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for who, seen in told.items():
                    for (at, what), count in seen.items():
                        pipe.hincrby(key_of(who), f"{at}:{what}", count)
                    pipe.expire(key_of(who), 60 * (KEPT_MINUTES + 2))
                    pipe.hgetall(key_of(who))
                answers = [answer for answer in pipe.execute() if isinstance(answer, dict)]
            for who, answer in zip(told, answers, strict=True):
                self._look(who, cast("dict[bytes, bytes]", answer), minute, now)
        except redis.RedisError:
            log.exception("usage_not_counted")
        except DatabaseError:
            log.exception("usage_alert_not_kept")

    def _look(self, who: str, answer: dict[bytes, bytes], minute: int, now: datetime) -> None:
        counts = {read(field): int(count) for field, count in answer.items()}
        if old := [field for field in answer if read(field)[0] < minute - KEPT_MINUTES]:
            self._client.hdel(key_of(who), *old)
        for finding in findings(counts, minute):
            raise_alert(who, finding, now)


def key_of(who: str) -> str:
    """Return where Redis keeps a caller's counts."""
    return f"recsys:usage:{who}"


def read(field: bytes) -> tuple[int, str]:
    """Return the minute and what was counted."""
    minute, _, what = field.decode().partition(":")
    return int(minute), what


def raise_alert(who: str, finding: Finding, now: datetime) -> None:
    """Keep an alert, once an hour for each kind and caller; count it and log it without a name."""
    _, is_new = UsageAlert.objects.get_or_create(
        kind=finding.kind,
        caller=who,
        hour=now.replace(minute=0, second=0, microsecond=0),
        defaults={
            "key": ApiKey.objects.filter(prefix=who).first(),
            "raised_at": now,
            "count": finding.count,
            "usual": finding.usual,
        },
    )
    if is_new:
        USAGE_ALERTS.labels(finding.kind).inc()
        said = {"kind": str(finding.kind), "caller": masked("log", who), "count": finding.count}
        log.warning("usage_alert", extra=said)


@cache
def usage() -> Usage:
    """Return what this process adds up."""
    client = redis.Redis.from_url(
        settings.ENV.cache_redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )
    return Usage(client)
