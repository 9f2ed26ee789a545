"""One breaker per server and process, shared by every client of the server, and the time of a request."""

import logging
import os
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from kombu.exceptions import OperationalError

from monitoring import dependencies, task_publisher, time_budget
from monitoring.dependencies import MAX_FAILURES, dependency
from monitoring.redis_clients import UnavailableError, redis_client, redis_dependency, server_name
from monitoring.time_budget import limited_time, statement_seconds
from recommendations import task_queue
from tests.servers import free_port


@pytest.fixture
def clock(monkeypatch):
    """The clock of the breakers."""
    clock = SimpleNamespace(time=100.0)
    monkeypatch.setattr(dependencies, "monotonic", lambda: clock.time)
    return clock


def lose(server):
    for _ in range(MAX_FAILURES):
        server.record_failure(TimeoutError())


def test_the_loss_of_a_server_and_its_return_are_logged_once(clock, caplog):
    caplog.set_level(logging.INFO, "monitoring.dependencies")
    server = dependency("a server")
    for _ in range(2):
        lose(server)
    assert not server.allows_call()
    clock.time += dependencies.COOL_OFF_SECONDS
    assert [server.allows_call(), server.allows_call()] == [True, False], "one call tries whether it is back"
    server.record_failure(TimeoutError())
    clock.time += dependencies.COOL_OFF_SECONDS
    assert server.allows_call()
    for _ in range(2):
        server.record_response()
    assert server.allows_call()
    events = [(record.message, record.dependency) for record in caplog.records]
    assert events == [("dependency_lost", "a server"), ("dependency_back", "a server")]


def test_a_forked_child_has_breakers_of_its_own(monkeypatch):
    """A lock that a thread of the parent held would stay locked in the child."""
    lose(dependency("a server"))
    monkeypatch.setattr(dependencies.os, "getpid", lambda: os.getppid())
    assert dependency("a server").allows_call()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://127.0.0.1:6390/0", "redis 127.0.0.1:6390"),
        ("redis://:password@127.0.0.1:6390/1", "redis 127.0.0.1:6390"),  # pragma: allowlist secret
        ("rediss://user:password@cache.example", "redis cache.example:6379"),  # pragma: allowlist secret
        ("unix:///run/redis.sock?db=1", "redis /run/redis.sock"),
    ],
)
def test_a_redis_is_named_by_its_address_without_the_database_and_the_password(url, name):
    assert server_name(url) == name


def use_client(url):
    with redis_client(url) as client:
        client.ping()


def use_pipeline(url):
    with redis_client(url) as client, client.pipeline() as pipe:
        pipe.ping().execute()


def use_script(url):
    with redis_client(url) as client:
        client.register_script("return 1")()


def use_django_cache(url):
    cache.set("key", 1)


def publish(url):
    with task_publisher.broker_producer() as producer:
        producer.publish({}, routing_key="none")


@pytest.mark.parametrize("call", [use_client, use_pipeline, use_script, use_django_cache, publish])
def test_no_client_calls_a_server_whose_breaker_is_open(call, redis_url):
    """The server runs: the calls fail because other clients of it have failed."""
    call(redis_url)
    lose(redis_dependency(redis_url))
    with pytest.raises((UnavailableError, OperationalError)):
        call(redis_url)


@pytest.mark.parametrize("call", [use_client, use_pipeline, use_script, publish])
def test_failures_of_any_client_open_the_breaker_after_one_attempt_each(call, monkeypatch):
    url = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"redis_url": url}))
    monkeypatch.setattr(task_publisher, "_pools", {})
    monkeypatch.setattr("celery.current_app.conf.broker_write_url", url)
    for number in range(MAX_FAILURES):
        assert redis_dependency(url).allows_call(), number
        with pytest.raises((redis.ConnectionError, OperationalError)):
            call(url)
    assert not redis_dependency(url).allows_call()


def test_an_error_that_a_server_responds_with_is_no_loss_of_the_server(redis_url):
    with redis_client(redis_url) as client:
        client.set("recsys:test:text", "a")
        for _ in range(MAX_FAILURES + 1):
            with pytest.raises(redis.ResponseError):
                client.incr("recsys:test:text")
        assert client.delete("recsys:test:text") == 1


def test_a_broker_that_refuses_a_message_is_called_again(redis_url, caplog):
    """As a replica does that was a master before. The caller does not fail."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            for _ in range(MAX_FAILURES + 1):
                task_queue.publish(task_queue.EMBED_POSTS, {}, "none", 0)
        finally:
            client.config_set("min-replicas-to-write", 0)
        assert [record.message for record in caplog.records] == ["task_not_published"] * (MAX_FAILURES + 1)
        assert redis_dependency(redis_url).allows_call()
        task_queue.publish(task_queue.EMBED_POSTS, {}, "none", 0)
        assert client.delete("recsys:none") == 1


# The time of a request


def test_a_statement_may_take_its_own_time_within_the_time_of_the_request():
    assert statement_seconds() is None and not time_budget.is_limited()
    with limited_time(time.monotonic() + 3600):
        assert statement_seconds() == settings.ENV.database_seconds
    with limited_time(time.monotonic() + 1):
        assert 0 < statement_seconds() <= 1
    with limited_time(time.monotonic() - 1):
        assert statement_seconds() == time_budget.MIN_SECONDS
    assert statement_seconds() is None


@pytest.mark.django_db
@pytest.mark.one_database("sqlite")
@pytest.mark.parametrize(("is_request", "milliseconds"), [(True, 8_000), (False, 30_000)])
def test_a_request_waits_for_the_lock_of_sqlite_as_long_as_for_any_lock(is_request, milliseconds):
    new_connection = connection.copy()
    with limited_time(time.monotonic() + 60) if is_request else nullcontext(), new_connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (milliseconds,)
    new_connection.close()
