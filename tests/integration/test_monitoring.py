"""Health checks and metrics over HTTP."""

import threading
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from pydantic import SecretStr

from monitoring import alerts, clock, health, metrics, server_gauges
from recommendations.services.extensions import selftest

pytestmark = pytest.mark.django_db


@pytest.fixture
def checks(monkeypatch):
    """Replace the registered checks with those of the test."""
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


def test_livez_runs_no_query(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/livez").json() == {"status": "pass"}


@pytest.fixture
def evaluated_rules(monkeypatch):
    """Alert rules that have just been evaluated. A check does not see the uncommitted rows of a test."""
    monkeypatch.setattr(alerts, "last_evaluation", clock.now)


def test_readyz_passes_when_every_check_passes(client, redis_url, token, evaluated_rules):
    response = client.get("/readyz")
    assert response.status_code == 200, client.get("/readyz", headers=token).content
    names = {"database", "migrations", "redis", "alerts", "kernel", "catalogue"}
    assert response.json() == {"status": "pass", "checks": dict.fromkeys(names, "pass")}


def stop_redis(monkeypatch):
    set_env(monkeypatch, redis_url="redis://127.0.0.1:1/0", cache_redis_url="redis://127.0.0.1:1/0")


def break_kernel(monkeypatch):
    monkeypatch.setattr(selftest, "EXPECTED_ROWS", [[3, 15, 53, 59], [9, 35, 3, 31]])


def stop_beat(monkeypatch):
    monkeypatch.setattr(alerts, "LATE_AFTER", timedelta(seconds=-1))


@pytest.mark.parametrize(("name", "fault"), [("redis", stop_redis), ("kernel", break_kernel), ("alerts", stop_beat)])
def test_a_process_that_lacks_what_it_can_do_without_is_ready_and_warns(
    client, redis_url, monkeypatch, evaluated_rules, name, fault
):
    """Otherwise a load balancer would remove every web process at once."""
    fault(monkeypatch)
    response = client.get("/readyz")
    checks = response.json()["checks"]
    assert (response.status_code, response.json()["status"]) == (200, "warn")
    assert {check: status for check, status in checks.items() if status != "pass"} == {name: "warn"}


def test_a_process_without_what_serving_needs_is_not_ready_whatever_else_warns(client, checks):
    for name, is_required in (("cache", False), ("database", True)):
        health.register_health_check(name, broken, is_required=is_required)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "fail", "checks": {"cache": "warn", "database": "fail"}}


def test_only_staff_and_token_holders_see_the_reasons(client, admin_client, checks, token):
    health.register_health_check("database", broken, is_required=True)
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "fail", "checks": {"database": "fail"}})
    for response in (admin_client.get("/readyz"), client.get("/readyz", headers=token)):
        assert response.json()["checks"]["database"]["reason"] == "RuntimeError: no route to db.internal"


def test_a_hanging_check_times_out_and_is_not_started_again(client, checks, monkeypatch, token):
    """Several probes of a hanging check use one thread, and the other checks are still reported."""
    monkeypatch.setattr(health, "CHECKS_TIMEOUT_SECONDS", 0.1)
    started_at, release = [], threading.Event()

    def hang(now):
        started_at.append(now)
        release.wait(10)

    health.register_health_check("slow", hang, is_required=True)
    health.register_health_check("quick", lambda now: None, is_required=True)
    for _ in range(3):
        found = client.get("/readyz", headers=token).json()["checks"]
        assert found["quick"]["status"] == "pass"
        assert "still runs" in found["slow"]["reason"]
    assert len(started_at) == 1
    release.set()
    monkeypatch.setattr(health, "CHECKS_TIMEOUT_SECONDS", 10)
    assert client.get("/readyz").json()["status"] == "pass"


def test_metrics_require_the_token_or_staff(client, admin_client, monkeypatch):
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    set_env(monkeypatch, metrics_token=SecretStr("tok"))
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    text = client.get("/metrics", headers={"Authorization": "Bearer tok"}).content.decode()
    assert "# HELP recsys_feed_seconds" in text
    assert "django_http_requests_total_by_method_total" in text
    assert admin_client.get("/metrics").status_code == 200


def test_a_signed_in_user_gets_no_details_while_the_database_is_down(admin_client, monkeypatch, caplog):
    """The session is in the database. Health checks still respond, and report the database."""
    set_env(monkeypatch, redis_url="redis://127.0.0.1:1/0", cache_redis_url="redis://127.0.0.1:1/0")

    def fail(*_):
        raise OperationalError("no route to db.internal")

    with connection.execute_wrapper(fail):
        answer = admin_client.get("/metrics")
        values = server_gauges.compute_database_gauge(clock.now())
    assert answer.status_code == 401
    assert values == {metrics.DATABASE_UP: {(): 0.0}}
    assert server_gauges.compute_redis_gauges(clock.now())[metrics.REDIS_UP] == {("broker",): 0.0, ("caches",): 0.0}


def test_metrics_can_be_disabled(admin_client, monkeypatch):
    set_env(monkeypatch, prometheus_metrics_enabled=False)
    assert admin_client.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    ("file", "kind"), [("browser/kernel.js", "text/javascript"), ("dist/kernel.wasm", "application/wasm")]
)
def test_the_kernel_files_are_served_to_browsers(client, file, kind):
    """A browser gets the same bytes that a worker runs."""
    response = client.get(f"/static/wasm/{file}")
    assert response.status_code == 200
    assert response["Content-Type"].startswith(kind)
    assert b"".join(response) == (settings.BASE_DIR / "wasm" / file).read_bytes()
