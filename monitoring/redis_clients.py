"""
Clients of the two Redis servers, all with the same timeout, and with one breaker per server (`dependencies.py`).

With sentinels, the host in a URL is the name of a primary, and each new connection asks the sentinels for its address.
A connection to a primary that has become a replica is closed at its first refused write.

A call makes one attempt. redis-py would repeat it three times, with pauses: a request would wait that much longer for
a server that hangs, and a command that was carried out before its response was lost would be carried out twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from monitoring.dependencies import Dependency, dependency
from monitoring.redis_servers import sentinel_addresses, sentinel_options, tls_options

R = TypeVar("R")

TIMEOUT_SECONDS = 1.0
"""The longest that a call waits for a Redis that does not respond."""
TIMEOUTS: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}


class UnavailableError(redis.ConnectionError):
    """The server was not called, because its last calls failed."""


class SingleAttempt(Retry):
    """One attempt per call, and none while the server's breaker is open."""

    def __init__(self, server: str) -> None:
        super().__init__(NoBackoff(), 0)
        self._server = server

    def call_with_retry(self, do: Callable[[], R], *args: Any, **kwargs: Any) -> R:
        """Return the result of *do*, a call of the server. Raises `UnavailableError` while the breaker is open."""
        server = dependency(self._server)
        if not server.allows_call():
            raise UnavailableError(f"{self._server} failed a moment ago. Not called again yet.")
        try:
            result = super().call_with_retry(do, *args, **kwargs)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            server.record_failure(error)
            raise
        except redis.RedisError:
            server.record_response()
            raise
        server.record_response()
        return result


def server_name(url: str) -> str:
    """Return the name of the server at *url*, without the database and the password."""
    options = parse_url(url)  # type: ignore[no-untyped-call]
    return "redis " + str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def redis_dependency(url: str) -> Dependency:
    """Return the server at *url*."""
    return dependency(server_name(url))


def patience_options(url: str) -> dict[str, Any]:
    """Return how long every client of the server at *url* waits, and how often it tries."""
    return TIMEOUTS | {"retry": SingleAttempt(server_name(url))}


def connection_options(url: str) -> dict[str, Any]:
    """Return the options of every client of the server at *url*."""
    return tls_options(settings.ENV, url) | patience_options(url)


def local_client(url: str) -> redis.Redis:
    """Return a client of a server that this process started: without TLS and sentinels, so it needs no settings."""
    return redis.Redis.from_url(url, **patience_options(url))


def redis_client(url: str, **options: Any) -> redis.Redis:
    """Return a client of the server at *url*, with more *options* of redis-py. It connects at its first call."""
    options = connection_options(url) | options
    addresses = sentinel_addresses(settings.ENV)
    if not addresses:
        return redis.Redis.from_url(url, **options)
    address = {name: value for name, value in parse_url(url).items() if name in ("db", "username", "password")}  # type: ignore[no-untyped-call]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs=TIMEOUTS | {"retry": Retry(NoBackoff(), 0)} | sentinel_options(settings.ENV, url)
    )
    client: redis.Redis = sentinel.master_for(
        parse_url(url)["host"],  # type: ignore[no-untyped-call]
        ssl=url.startswith("rediss:"),
        **options,
        **address,
    )
    return client
