"""Whether the servers that we stand on answer, and how full the Redis servers are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError, connection
from redis import Redis, RedisError

from monitoring import metrics, readings
from monitoring.health import TIMEOUT_SECONDS
from monitoring.readings import Values


def redis_servers(_now: datetime) -> dict[metrics.Read, Values]:
    """Return how the broker's Redis and the caches' do."""
    found: dict[metrics.Read, Values] = {family: {} for family in REDIS}
    for server, url in (("broker", settings.ENV.redis_url), ("caches", settings.ENV.cache_redis_url)):
        try:
            with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
                info = cast("dict[str, Any]", client.info())
        except RedisError:
            found[metrics.REDIS_UP][(server,)] = 0.0
            continue
        found[metrics.REDIS_UP][(server,)] = 1.0
        found[metrics.REDIS_BYTES][(server,)] = info["used_memory"]
        found[metrics.REDIS_LIMIT_BYTES][(server,)] = info["maxmemory"]
        found[metrics.REDIS_EVICTED][(server,)] = info["evicted_keys"]
    return found


def database(_now: datetime) -> dict[metrics.Read, Values]:
    """Return whether the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return {metrics.DATABASE_UP: {(): 0.0}}
    return {metrics.DATABASE_UP: {(): 1.0}}


REDIS = (metrics.REDIS_UP, metrics.REDIS_BYTES, metrics.REDIS_LIMIT_BYTES, metrics.REDIS_EVICTED)


def connect() -> None:
    """Have these read when somebody asks."""
    readings.register(*REDIS, read=redis_servers)
    readings.register(metrics.DATABASE_UP, read=database)
