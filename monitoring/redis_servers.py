"""
Where the two Redis servers are, from the settings: the sentinels that know their primaries, and the files of TLS.

This module does not import redis: the settings read it in every process.
"""

from __future__ import annotations

from typing import Any


def tls_options(env: Any, url: str) -> dict[str, Any]:
    """
    Return the options of a TLS connection to the server at *url*, or none for a URL of a plain connection.

    The server's certificate must be valid, and for the host of the URL or, behind sentinels, for the address that they
    name.
    """
    if not url.startswith("rediss:"):
        return {}
    files = {
        "ssl_ca_certs": env.redis_ca_file,
        "ssl_certfile": env.redis_certificate_file,
        "ssl_keyfile": env.redis_key_file,
    }
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True} | {
        name: file for name, file in files.items() if file
    }


def sentinel_addresses(env: Any) -> list[tuple[str, int]]:
    """Return the host and the port of each sentinel; none if the URLs have the addresses of the servers."""
    parts = [part.rpartition(":") for part in env.redis_sentinels]
    return [(host.strip("[]"), int(port)) for host, _, port in parts]


def sentinel_options(env: Any, url: str) -> dict[str, Any]:
    """Return the options of connections to the sentinels. They use TLS if the server at *url* does."""
    tls = tls_options(env, url)
    password = env.redis_sentinel_password.get_secret_value()
    return tls | ({"ssl": True} if tls else {}) | ({"password": password} if password else {})
