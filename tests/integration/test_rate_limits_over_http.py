"""Rates as integrators meet them: a real web server of several processes, a real Redis, and many requests at once."""

import http.client
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import free_port, redis_server, run_process, wait_until

LIMIT, REQUESTS, THREADS = 50, 800, 16
SETUP_SCRIPT = f"""
from datetime import UTC, datetime
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model, SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from access import keys

print(keys.create(name="many", scopes=["members:read"], per_minute={LIMIT}, now=datetime.now(UTC))[1])
user = get_user_model().objects.create_superuser("staff", password="not-asked-for")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.save()
print(session.session_key)
"""


@pytest.fixture
def web(tmp_path):
    """Run a web server of four processes; yield its port, a key's secret and a session of staff."""
    port = free_port()
    with redis_server(tmp_path, port=free_port()) as redis_url:
        env = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "REDIS_URL": redis_url,
            "CACHE_REDIS_URL": redis_url,
            "RATE_PER_STAFF": str(LIMIT),
            "API_OPEN": "0",
            "ALLOWED_HOSTS": "127.0.0.1",
        }
        manage(tmp_path, env, "migrate", "-v0")
        secret, session = manage(tmp_path, env, "shell", "-v0", "-c", SETUP_SCRIPT).split()
        options = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "4"]
        command = [sys.executable, "-m", "granian", *options, "recsys_project.wsgi:application"]
        with run_process(command, tmp_path, **env) as (process, log):
            wait_until(lambda: is_listening(port), process, log)
            yield port, {"Authorization": f"Bearer {secret}"}, {"Cookie": f"sessionid={session}"}


def is_listening(port):
    """Return whether somebody answers at the port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def manage(folder, env, *words):
    with run_process([sys.executable, "manage.py", *words], folder, **env) as (process, log):
        assert process.wait(120) == 0, log.read_text()
        return log.read_text()


def ask(port, headers, times):
    """Return status and rate fields of each of *times* answers over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    found = []
    for _ in range(times):
        connection.request("GET", "/api/v1/members?limit=1", headers=headers)
        answer = connection.getresponse()
        answer.read()
        fields = ("RateLimit-Policy", "RateLimit", "Retry-After")
        found.append((answer.status, *(answer.headers[name] for name in fields)))
    connection.close()
    return found


def test_of_many_requests_at_once_exactly_as_many_as_the_limit_are_admitted(web):
    """By key and by staff, over four processes; what is left and when to come again is in every answer."""
    port, key, staff = web
    for policy, headers in (("key", key), ("staff", staff)):
        with ThreadPoolExecutor(THREADS) as threads:
            parts = threads.map(lambda _, h=headers: ask(port, h, REQUESTS // THREADS), range(THREADS))
            answers = [answer for part in parts for answer in part]
        assert Counter(status for status, *_ in answers) == {200: LIMIT, 429: REQUESTS - LIMIT}
        assert {said for _, said, *_ in answers} == {f'"{policy}";q={LIMIT};w=60'}
        left = [said.split(";")[1] for status, _, said, _ in answers if status == 200]
        assert set(left) <= {f"r={n}" for n in range(LIMIT)} and "r=0" in left
        for status, _, said, wait in answers:
            assert (wait is not None and 1 <= int(wait) <= 60) if status == 429 else wait is None
            assert status == 200 or said.startswith(f'"{policy}";r=0;t=')
