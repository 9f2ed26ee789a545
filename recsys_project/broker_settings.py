"""The settings of Celery's connection to its broker. It imports neither Celery nor Redis, as the settings."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from monitoring.redis_servers import sentinel_options, tls_options


def broker_url(env: Any) -> str:
    """Return the broker's URL; with sentinels, the URL of each of them, with the broker's user and database."""
    if not env.redis_sentinels:
        return str(env.redis_url)
    parts = urlsplit(env.redis_url)
    user, at, _ = parts.netloc.rpartition("@")
    return ";".join(f"sentinel://{user}{at}{address}{parts.path}" for address in env.redis_sentinels)


def sentinel_transport_options(env: Any) -> dict[str, Any]:
    """Return the transport options that Celery needs to find the primary; none without sentinels."""
    if not env.redis_sentinels:
        return {}
    patience = {"socket_timeout": 5, "socket_connect_timeout": 5}
    return {
        "master_name": urlsplit(env.redis_url).hostname,
        "sentinel_kwargs": patience | sentinel_options(env, env.redis_url),
    }


def broker_tls(env: Any) -> dict[str, Any] | None:
    """Return the options of TLS for the broker, or None for a plain connection."""
    return tls_options(env, env.redis_url) or None
