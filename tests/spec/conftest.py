"""What the tests of stores share: a real Redis, one that is not there, and a clock that the test moves."""

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
    """A client of the caches' database of a real Redis. It is empty, and its keys age with *clock*."""
    with redis.Redis.from_url(os.environ["CACHE_REDIS_URL"]) as client:
        client.flushdb()
        yield clock.ages(client)


@pytest.fixture
def unreachable():
    """A client of a Redis that is not there. It is made as wiring makes one: from a URL, so that it tries once only."""
    with redis.Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", socket_connect_timeout=0.2) as client:
        yield client
