"""The connections of Django's cache, which django-redis makes."""

from __future__ import annotations

from typing import Any

from django_redis.pool import ConnectionFactory  # type: ignore[import-untyped]
from redis import ConnectionPool

from monitoring.redis_clients import redis_client


class CacheConnectionFactory(ConnectionFactory):  # type: ignore[misc]  # django-redis has no types
    """Makes connections with the timeout, the breaker and the way to the primary of every other client of Redis."""

    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        """Return the pool of a process for the URL in *params*."""
        return redis_client(params["url"]).connection_pool
