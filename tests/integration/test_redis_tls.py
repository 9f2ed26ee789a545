"""Redis over TLS, with and without a sentinel: every kind of client, and a certificate of an unknown authority."""

from contextlib import ExitStack
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from kombu import Connection, Consumer, Queue

from access.throttles import RateLimitBucket, RateLimiter
from monitoring.redis_clients import redis_client
from recsys_project.broker_settings import broker_tls, broker_url, sentinel_transport_options
from recsys_project.environment import Environment
from tests.redis_servers import PRIMARY, make_certificates, sentinel, server

PASSWORD = "of-the-server"  # pragma: allowlist secret


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["a server", "a server and its sentinel"])
def encrypted(request, certificates, tmp_path_factory):
    """The settings of a Redis that only takes TLS and asks for certificates."""
    folder = tmp_path_factory.mktemp("redis")
    files = {
        "redis_ca_file": str(certificates.authority),
        "redis_certificate_file": str(certificates.certificate),
        "redis_key_file": str(certificates.key),
    }
    with ExitStack() as stack:
        options = {"password": PASSWORD, "certificates": certificates}
        _, port = stack.enter_context(server(folder / "server", "--save", "", **options))
        address, sentinels = f"127.0.0.1:{port}", []
        if request.param != "a server":
            options = {"primary_password": PASSWORD, "certificates": certificates}
            sentinels = [f"127.0.0.1:{stack.enter_context(sentinel(folder / 'sentinel', port, **options))}"]
            address = PRIMARY
        urls = {
            "redis_url": f"rediss://:{PASSWORD}@{address}/0",
            "cache_redis_url": f"rediss://:{PASSWORD}@{address}/1",
        }
        yield Environment(**urls, **files, redis_sentinels=sentinels)


@pytest.fixture
def env(encrypted, monkeypatch):
    monkeypatch.setattr(settings, "ENV", encrypted)
    return encrypted


def test_clients_and_the_cache_and_the_rate_limits_use_tls(env, monkeypatch):
    with redis_client(env.redis_url) as client:
        assert client.set("a", "b")
        assert client.get("a") == b"b"
    name = str(uuid4())
    monkeypatch.setitem(caches.settings, name, caches.settings["default"] | {"LOCATION": env.cache_redis_url})
    caches[name].set("key", 1)
    assert caches[name].get("key") == 1
    assert RateLimiter(env.cache_redis_url).admit(RateLimitBucket("members", "ann", 10)).remaining == 9


def test_messages_are_sent_and_received_over_tls(env):
    queue, messages = Queue(f"test-{uuid4()}", expires=60), []
    options = sentinel_transport_options(env)
    with Connection(broker_url(env), ssl=broker_tls(env), transport_options=options) as connection:
        with connection.Producer() as producer:
            producer.publish({"a": 1}, routing_key=queue.name, exchange="", declare=[queue])
        with Consumer(connection, [queue], callbacks=[lambda body, _: messages.append(body)], no_ack=True):
            connection.drain_events(timeout=10)
    assert messages == [{"a": 1}]


@pytest.mark.parametrize("missing", ["redis_ca_file", "redis_certificate_file"])
def test_a_server_or_a_client_that_cannot_show_who_it_is_is_refused(env, missing, monkeypatch):
    monkeypatch.setattr(settings, "ENV", env.model_copy(update={missing: "", "redis_key_file": ""}))
    with redis_client(env.redis_url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
