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
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import redis
from django.conf import settings
from django.db import DatabaseError

from access.masks import masked
from access.models import ApiKey, UsageAlert
from access.usage_counts import KEPT_MINUTES, Counts, RedisUsageCounts, UsageCounts
from monitoring.metrics import USAGE_ALERTS

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
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

    def __init__(self, counts: UsageCounts) -> None:
        self._counts = counts
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
            for who, counts in self._counts.add(told, minute).items():
                for finding in findings(counts, minute):
                    raise_alert(who, finding, now)
        except DatabaseError:
            log.exception("usage_alert_not_kept")


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
    return Usage(RedisUsageCounts(client))
