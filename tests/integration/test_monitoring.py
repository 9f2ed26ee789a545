"""Health and metrics, as those who ask for them see them."""

import pytest
from django.conf import settings
from pydantic import SecretStr

from monitoring import health

pytestmark = pytest.mark.django_db


@pytest.fixture
def checks(monkeypatch):
    """Have these checks only."""
    registered = {}
    monkeypatch.setattr(health, "_checks", registered)
    return registered


def set_env(monkeypatch, **values):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=values))


def broken(_now):
    raise RuntimeError("no route to db.internal")


def test_alive_asks_nothing_of_anybody(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/livez").json() == {"status": "alive"}


def test_ready_when_every_check_is(client, redis_url):
    response = client.get("/readyz")
    assert response.status_code == 200, response.content
    names = {"database", "migrations", "redis", "engine", "catalogue"}
    assert response.json() == {"status": "ready", "failing": [], "checks": dict.fromkeys(names, "ok")}


def test_a_redis_that_is_gone_is_named(client, monkeypatch):
    set_env(monkeypatch, redis_url="redis://127.0.0.1:1/0", cache_redis_url="redis://127.0.0.1:1/0")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["failing"] == ["redis"]


def test_the_reason_is_for_staff_and_this_machine_only(client, admin_client, checks):
    health.register("database", broken)
    assert "db.internal" in client.get("/readyz").json()["checks"]["database"]
    for elsewhere in ({"REMOTE_ADDR": "203.0.113.5"}, {"HTTP_X_FORWARDED_FOR": "203.0.113.5"}):
        response = client.get("/readyz", **elsewhere)
        assert response.json() == {"status": "not ready", "failing": ["database"]}
        assert "db.internal" in admin_client.get("/readyz", **elsewhere).content.decode()


def test_metrics_ask_for_the_token_or_staff(client, admin_client, monkeypatch):
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    set_env(monkeypatch, metrics_token=SecretStr("tok"))
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    said = client.get("/metrics", headers={"Authorization": "Bearer tok"}).content.decode()
    assert "# HELP recsys_feed_seconds" in said
    assert "django_http_requests_total_by_method_total" in said
    assert admin_client.get("/metrics").status_code == 200


def test_metrics_can_be_turned_off(admin_client, monkeypatch):
    set_env(monkeypatch, prometheus_metrics_enabled=False)
    assert admin_client.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    ("file", "kind"), [("browser/kernel.js", "text/javascript"), ("dist/kernel.wasm", "application/wasm")]
)
def test_the_kernel_is_served_to_browsers(client, file, kind):
    """The bytes that a worker runs are the bytes that a browser gets."""
    answer = client.get(f"/static/wasm/{file}")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(kind)
    assert b"".join(answer) == (settings.BASE_DIR / "wasm" / file).read_bytes()
