"""Gauges of the servers: whether the database and the Redis servers respond, and the memory of the Redis servers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError, connection
from redis import RedisError

from monitoring import gauges, metrics
from monitoring.gauges import GaugeValues
from monitoring.redis_clients import redis_client


def compute_redis_gauges(_now: datetime) -> dict[metrics.ComputedGauge, GaugeValues]:
    """Return the state and the memory of the broker's Redis and of the caches' Redis."""
    values: dict[metrics.ComputedGauge, GaugeValues] = {gauge: {} for gauge in REDIS_GAUGES}
    for server, url in (("broker", settings.ENV.redis_url), ("caches", settings.ENV.cache_redis_url)):
        try:
            with redis_client(url) as client:
                info = cast("dict[str, Any]", client.info())
        except RedisError:
            values[metrics.REDIS_UP][(server,)] = 0.0
            continue
        values[metrics.REDIS_UP][(server,)] = 1.0
        values[metrics.REDIS_BYTES][(server,)] = info["used_memory"]
        values[metrics.REDIS_LIMIT_BYTES][(server,)] = info["maxmemory"]
        values[metrics.REDIS_EVICTED_KEYS][(server,)] = info["evicted_keys"]
    return values


def compute_database_gauge(_now: datetime) -> dict[metrics.ComputedGauge, GaugeValues]:
    """Return whether the database responds."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return {metrics.DATABASE_UP: {(): 0.0}}
    return {metrics.DATABASE_UP: {(): 1.0}}


REDIS_GAUGES = (metrics.REDIS_UP, metrics.REDIS_BYTES, metrics.REDIS_LIMIT_BYTES, metrics.REDIS_EVICTED_KEYS)


def register() -> None:
    """Register these gauges."""
    gauges.register_gauges(*REDIS_GAUGES, compute=compute_redis_gauges)
    gauges.register_gauges(metrics.DATABASE_UP, compute=compute_database_gauge)
