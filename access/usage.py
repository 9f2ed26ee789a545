"""
Detect unusual usage: far more requests than usual, many unknown ids, many rejected requests.

Each process counts its responses and adds the counts to Redis every few seconds, so that a request costs only a few
additions. A process that crashes loses the counts of the last few seconds. Without Redis there is no detection; the
throttles count those requests as `uncounted`.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.conf import settings
from django.db import DatabaseError

from access.masks import mask_identity
from access.models import ApiKey, UsageAlert
from access.usage_counts import HISTORY_MINUTES, Counts, RedisUsageCounts, UsageCounts
from monitoring.metrics import USAGE_ALERTS
from monitoring.redis_clients import redis_client

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
RECENT_MINUTES = 5
MIN_HISTORY_MINUTES = 5
"""Minutes with requests that are needed to compute a usual rate."""
MIN_REFUSALS = 20
MIN_NOT_FOUND = 50
SPIKE_FACTOR = 5
MIN_SPIKE_REQUESTS = 300
"""Requests per minute below which there is no spike."""

REQUEST, NOT_FOUND, REFUSED = "r", "m", "f"


@dataclass(frozen=True, slots=True)
class UsageAnomaly:
    """An unusual number of requests, with the allowed or usual number."""

    kind: UsageAlert.Kind
    count: int
    baseline: float


def find_anomalies(counts: Counts, minute: int) -> list[UsageAnomaly]:
    """Return the anomalies in *counts* in the minutes up to *minute*."""

    def recent(event: str) -> int:
        return sum(counts.get((m, event), 0) for m in range(minute - RECENT_MINUTES + 1, minute + 1))

    anomalies = []
    if (refused := recent(REFUSED)) >= MIN_REFUSALS:
        anomalies.append(UsageAnomaly(UsageAlert.Kind.REFUSALS, refused, MIN_REFUSALS))
    if (not_found := recent(NOT_FOUND)) >= MIN_NOT_FOUND and 2 * not_found >= recent(REQUEST):
        anomalies.append(UsageAnomaly(UsageAlert.Kind.ENUMERATION, not_found, MIN_NOT_FOUND))
    history = [n for (m, event), n in counts.items() if event == REQUEST and minute - HISTORY_MINUTES <= m < minute]
    current = counts.get((minute, REQUEST), 0)
    if len(history) >= MIN_HISTORY_MINUTES:
        mean = sum(history) / len(history)
        if current > max(MIN_SPIKE_REQUESTS, SPIKE_FACTOR * mean):
            anomalies.append(UsageAnomaly(UsageAlert.Kind.SPIKE, current, mean))
    return anomalies


class UsageRecorder:
    """The counts of this process that are not in Redis yet."""

    def __init__(self, counts: UsageCounts) -> None:
        self._counts = counts
        self._lock = threading.Lock()
        self._unflushed: dict[str, dict[tuple[int, str], int]] = {}
        self._flush_at = 0.0

    def record_response(self, caller: str, status: int, now: datetime) -> None:
        """Count a response to a caller. Every `FLUSH_SECONDS`, add the counts to Redis and raise alerts."""
        timestamp = now.timestamp()
        minute = int(timestamp // 60)
        with self._lock:
            counts = self._unflushed.setdefault(caller, defaultdict(int))
            counts[minute, REQUEST] += 1
            if status == 404:
                counts[minute, NOT_FOUND] += 1
            elif status in (401, 403):
                counts[minute, REFUSED] += 1
            if timestamp < self._flush_at:
                return
            self._flush_at = timestamp + FLUSH_SECONDS
            unflushed, self._unflushed = self._unflushed, {}
        self._flush(unflushed, minute, now)

    def _flush(self, unflushed: dict[str, dict[tuple[int, str], int]], minute: int, now: datetime) -> None:
        try:
            for caller, counts in self._counts.add(unflushed, minute).items():
                for anomaly in find_anomalies(counts, minute):
                    raise_usage_alert(caller, anomaly, now)
        except DatabaseError:
            log.exception("usage_alert_not_stored")


def raise_usage_alert(caller: str, anomaly: UsageAnomaly, now: datetime) -> None:
    """Store an alert, at most one per hour, kind and caller. Count it, and log it with a masked caller."""
    _, is_new = UsageAlert.objects.get_or_create(
        kind=anomaly.kind,
        caller=caller,
        hour=now.replace(minute=0, second=0, microsecond=0),
        defaults={
            "key": ApiKey.objects.filter(prefix=caller).first(),
            "raised_at": now,
            "count": anomaly.count,
            "baseline": anomaly.baseline,
        },
    )
    if is_new:
        USAGE_ALERTS.labels(anomaly.kind).inc()
        fields = {"kind": str(anomaly.kind), "caller": mask_identity("log", caller), "count": anomaly.count}
        log.warning("usage_alert_raised", extra=fields)


@cache
def usage_recorder() -> UsageRecorder:
    """Return the usage recorder of this process."""
    return UsageRecorder(RedisUsageCounts(redis_client(settings.ENV.cache_redis_url)))
