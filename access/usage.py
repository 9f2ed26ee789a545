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

from access.masks import mask_identity
from access.models import ApiKey, UsageAlert
from access.usage_counts import KEPT_MINUTES, Counts, RedisUsageCounts, UsageCounts
from monitoring.metrics import USAGE_ALERTS

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
RECENT_MINUTES = 5
MIN_HISTORY_MINUTES = 5
"""With fewer minutes in use than this, nobody knows what is usual."""
MIN_REFUSALS = 20
MIN_NOT_FOUND = 50
SPIKE_FACTOR = 5
MIN_SPIKE_REQUESTS = 300
"""Requests a minute under which nothing is a spike."""
TIMEOUT_SECONDS = 0.25

REQUEST, NOT_FOUND, REFUSED = "r", "m", "f"


@dataclass(frozen=True, slots=True)
class UsageAnomaly:
    """Something unusual: how many there were, and how many there may be."""

    kind: UsageAlert.Kind
    count: int
    baseline: float


def find_anomalies(counts: Counts, minute: int) -> list[UsageAnomaly]:
    """Return what is unusual about *counts* in the minutes up to *minute*."""

    def recent(what: str) -> int:
        return sum(counts.get((m, what), 0) for m in range(minute - RECENT_MINUTES + 1, minute + 1))

    found = []
    if (refused := recent(REFUSED)) >= MIN_REFUSALS:
        found.append(UsageAnomaly(UsageAlert.Kind.REFUSALS, refused, MIN_REFUSALS))
    if (missing := recent(NOT_FOUND)) >= MIN_NOT_FOUND and 2 * missing >= recent(REQUEST):
        found.append(UsageAnomaly(UsageAlert.Kind.ENUMERATION, missing, MIN_NOT_FOUND))
    before = [n for (m, what), n in counts.items() if what == REQUEST and minute - KEPT_MINUTES <= m < minute]
    now = counts.get((minute, REQUEST), 0)
    if len(before) >= MIN_HISTORY_MINUTES and now > max(
        MIN_SPIKE_REQUESTS, SPIKE_FACTOR * (usual := sum(before) / len(before))
    ):
        found.append(UsageAnomaly(UsageAlert.Kind.SPIKE, now, usual))
    return found


class UsageRecorder:
    """What this process saw and has not told Redis yet."""

    def __init__(self, counts: UsageCounts) -> None:
        self._counts = counts
        self._lock = threading.Lock()
        self._unflushed: dict[str, dict[tuple[int, str], int]] = {}
        self._flush_at = 0.0

    def record_response(self, caller: str, status: int, now: datetime) -> None:
        """Count an answer with this status to a caller; now and then, tell Redis and look at the whole."""
        moment = now.timestamp()
        minute = int(moment // 60)
        with self._lock:
            seen = self._unflushed.setdefault(caller, defaultdict(int))
            seen[minute, REQUEST] += 1
            if status == 404:
                seen[minute, NOT_FOUND] += 1
            elif status in (401, 403):
                seen[minute, REFUSED] += 1
            if moment < self._flush_at:
                return
            self._flush_at = moment + FLUSH_SECONDS
            told, self._unflushed = self._unflushed, {}
        self._flush(told, minute, now)

    def _flush(self, told: dict[str, dict[tuple[int, str], int]], minute: int, now: datetime) -> None:
        try:
            for who, counts in self._counts.add(told, minute).items():
                for finding in find_anomalies(counts, minute):
                    raise_usage_alert(who, finding, now)
        except DatabaseError:
            log.exception("usage_alert_not_stored")


def raise_usage_alert(caller: str, finding: UsageAnomaly, now: datetime) -> None:
    """Keep an alert, once an hour for each kind and caller; count it and log it without a name."""
    _, is_new = UsageAlert.objects.get_or_create(
        kind=finding.kind,
        caller=caller,
        hour=now.replace(minute=0, second=0, microsecond=0),
        defaults={
            "key": ApiKey.objects.filter(prefix=caller).first(),
            "raised_at": now,
            "count": finding.count,
            "baseline": finding.baseline,
        },
    )
    if is_new:
        USAGE_ALERTS.labels(finding.kind).inc()
        said = {"kind": str(finding.kind), "caller": mask_identity("log", caller), "count": finding.count}
        log.warning("usage_alert", extra=said)


@cache
def usage_recorder() -> UsageRecorder:
    """Return what this process adds up."""
    client = redis.Redis.from_url(
        settings.ENV.cache_redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )
    return UsageRecorder(RedisUsageCounts(client))
