"""Fixtures of store tests: a real Redis, an unreachable Redis, and a clock that the test advances."""

import os

import pytest
import redis

from tests.clock import Clock
from tests.servers import free_port


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(redis_url, clock):
    """Return a client of an empty database of a real Redis, whose keys expire with *clock*."""
    with redis.Redis.from_url(os.environ["CACHE_REDIS_URL"]) as client:
        client.flushdb()
        yield clock.expire_keys_of(client)


@pytest.fixture
def unreachable():
    """Return a client of an unreachable Redis, created from a URL as in the wiring, so that it tries only once."""
    with redis.Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", socket_connect_timeout=0.2) as client:
        yield client
