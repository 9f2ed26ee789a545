"""Pages of other origins: none by default, those that the setting names, and never with a cookie."""

import pytest
from django.test import Client

from recsys_project.environment import read_environment

ORIGIN = "https://app.example"
CORS = "corsheaders.middleware.CorsMiddleware"


def preflight(address, origin):
    """Return what a browser is told before it sends a token there."""
    asks = {
        "HTTP_ORIGIN": origin,
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
        "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization",
    }
    found = Client().options(address, **asks).headers
    return {name.lower(): value for name, value in found.items() if name.lower().startswith("access-control")}


@pytest.mark.django_db
def test_a_named_origin_may_send_a_token_and_no_cookie(settings):
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    settings.MIDDLEWARE = [CORS, *settings.MIDDLEWARE]
    told = preflight("/api/v1/members/a/feed", ORIGIN)
    assert told["access-control-allow-origin"] == ORIGIN
    assert "authorization" in told["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in told
    assert preflight("/api/v1/members/a/feed", "https://stranger.example") == {}
    assert preflight("/admin/login/", ORIGIN) == {}


@pytest.mark.django_db
def test_no_other_origin_by_default(client):
    answer = client.get("/api/v1/members", HTTP_ORIGIN="https://app.example")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example/path"),
        ("TOKEN_SIGNING_KEYS", "web:too-few"),
        ("TOKEN_SIGNING_KEYS", "x" * 40),
        ("TOKEN_SIGNING_KEYS", f"a:{'x' * 40},a:{'y' * 40}"),
        ("RATE_PER_KEY", "-1"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_and_shows_no_secret(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        read_environment()
    assert name in str(stopped.value)
    assert "x" * 40 not in str(stopped.value) and "too-few" not in str(stopped.value)
