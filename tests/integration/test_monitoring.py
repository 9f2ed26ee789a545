"""Health and metrics, as those who ask for them see them."""

import threading

import pytest
from django.conf import settings
from pydantic import SecretStr

from monitoring import health
from recommendations.services.extensions import selftest

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


@pytest.fixture
def token(monkeypatch):
    set_env(monkeypatch, metrics_token=SecretStr("tok"))
    return {"Authorization": "Bearer tok"}


def test_alive_asks_nothing_of_anybody(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/livez").json() == {"status": "pass"}


def test_ready_when_every_check_is(client, redis_url, token):
    response = client.get("/readyz")
    assert response.status_code == 200, client.get("/readyz", headers=token).content
    names = {"database", "migrations", "redis", "kernel", "catalogue"}
    assert response.json() == {"status": "pass", "checks": dict.fromkeys(names, "pass")}


def test_a_redis_that_is_gone_is_named(client, monkeypatch):
    set_env(monkeypatch, redis_url="redis://127.0.0.1:1/0", cache_redis_url="redis://127.0.0.1:1/0")
    response = client.get("/readyz")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert [name for name in checks if checks[name] == "fail"] == ["redis"]


def test_a_kernel_that_counts_wrong_is_named(client, redis_url, monkeypatch):
    monkeypatch.setattr(selftest, "EXPECTED_ROWS", [[3, 15, 53, 59], [9, 35, 3, 31]])
    checks = client.get("/readyz").json()["checks"]
    assert [name for name in checks if checks[name] == "fail"] == ["kernel"]


def test_the_reason_is_for_staff_and_who_has_the_token(client, admin_client, checks, token):
    health.register_health_check("database", broken)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "fail", "checks": {"database": "fail"}})
    for one in (admin_client.get("/readyz"), client.get("/readyz", headers=token)):
        assert one.json()["checks"]["database"]["reason"] == "RuntimeError: no route to db.internal"


def test_a_check_that_hangs_costs_its_time_and_is_not_begun_again(client, checks, monkeypatch, token):
    """Ten probes of a hanging database are one thread, and the other checks are heard."""
    monkeypatch.setattr(health, "CHECKS_TIMEOUT_SECONDS", 0.1)
    begun, go_on = [], threading.Event()

    def hangs(now):
        begun.append(now)
        go_on.wait(10)

    health.register_health_check("slow", hangs)
    health.register_health_check("quick", lambda now: None)
    for _ in range(3):
        found = client.get("/readyz", headers=token).json()["checks"]
        assert found["quick"]["status"] == "pass"
        assert "still runs" in found["slow"]["reason"]
    assert len(begun) == 1
    go_on.set()
    monkeypatch.setattr(health, "CHECKS_TIMEOUT_SECONDS", 10)
    assert client.get("/readyz").json()["status"] == "pass"


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
