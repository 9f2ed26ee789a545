"""Cross-origin requests: only from configured origins, and never with cookies."""

import os
import subprocess
import sys

import pytest
from django.test import Client

from recsys_project.environment import ROOT, read_environment

ORIGIN = "https://app.example"
CORS = "corsheaders.middleware.CorsMiddleware"


def preflight_headers(path, origin):
    """Return the access-control headers of the response to a preflight request."""
    headers = {
        "HTTP_ORIGIN": origin,
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
        "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization",
    }
    response = Client().options(path, **headers)
    return {
        name.lower(): value for name, value in response.headers.items() if name.lower().startswith("access-control")
    }


@pytest.mark.django_db
def test_an_allowed_origin_may_send_a_token_but_no_cookie(settings):
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    settings.MIDDLEWARE = [CORS, *settings.MIDDLEWARE]
    allowed = preflight_headers("/api/v1/members/a/feed", ORIGIN)
    assert allowed["access-control-allow-origin"] == ORIGIN
    assert "authorization" in allowed["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed
    assert preflight_headers("/api/v1/members/a/feed", "https://other.example") == {}
    for path in ("/graphql", "/ofrep/v1/evaluate/flags"):
        assert preflight_headers(path, ORIGIN)["access-control-allow-origin"] == ORIGIN
    assert preflight_headers("/admin/login/", ORIGIN) == preflight_headers("/graphqlx", ORIGIN) == {}


@pytest.mark.django_db
def test_no_origin_is_allowed_by_default(client):
    response = client.get("/api/v1/members", HTTP_ORIGIN="https://app.example")
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_configured_origin_installs_the_middleware_before_djangos_own():
    script = "from django.conf import settings; print(*settings.INSTALLED_APPS); print(*settings.MIDDLEWARE)"
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "recsys_project.settings", "CORS_ALLOWED_ORIGINS": ORIGIN}
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=env, check=True, capture_output=True, text=True
    )
    installed, middleware = (line.split() for line in output.stdout.splitlines())
    assert "corsheaders" in installed
    assert middleware.index(CORS) + 1 == middleware.index("recsys_project.internal_requests.HostCheckMiddleware")


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
def test_an_invalid_setting_stops_the_start_without_showing_secrets(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as error:
        read_environment()
    assert name in str(error.value)
    assert "x" * 40 not in str(error.value) and "too-few" not in str(error.value)
