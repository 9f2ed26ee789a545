"""Pages of other origins: none by default, those that the setting names, and never with a cookie."""

import json
import os
import subprocess
import sys

import pytest

from recsys_project.environment import read_environment

ASK = """
import django, json
django.setup()
from django.test import Client
from django.conf import settings
settings.ALLOWED_HOSTS = ["testserver"]
def ask(address, origin):
    preflight = {"HTTP_ORIGIN": origin, "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
                 "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization"}
    found = Client().options(address, **preflight).headers
    print(json.dumps({k.lower(): v for k, v in found.items() if k.lower().startswith("access-control")}))
ask("/api/v1/members/a/feed", "https://app.example")
ask("/admin/login/", "https://app.example")
ask("/api/v1/members/a/feed", "https://stranger.example")
"""


def test_a_named_origin_may_send_a_token_and_no_cookie(redis_url):
    """In a process of its own: which middleware there is, is settled at the start."""
    env = {
        "DJANGO_SETTINGS_MODULE": "recsys_project.settings",
        "CORS_ALLOWED_ORIGINS": "https://app.example, https://b.example",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    api, admin, stranger = map(
        json.loads, [line for line in done.stdout.splitlines() if line == "{}" or "access-control" in line]
    )
    assert api["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in api["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in api
    assert admin == stranger == {}


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
