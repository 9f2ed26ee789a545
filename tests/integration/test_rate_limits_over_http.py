"""Rate limits with a real web server of several processes, a real Redis and concurrent requests."""

import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_project.stack import commands
from tests.servers import free_port, is_listening, redis_server, run_manage, run_process, wait_until

LIMIT, REQUESTS, THREADS = 50, 800, 16
SETUP_SCRIPT = f"""
from datetime import UTC, datetime
from importlib import import_module
from django.conf import settings
from django.contrib.auth import get_user_model, SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from access import keys

print(keys.create(name="many", scopes=["members:read"], per_minute={LIMIT}, now=datetime.now(UTC))[1])
user = get_user_model().objects.create_superuser("staff", password="not-used")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
session.save()
print(session.session_key)
"""


@pytest.fixture
def web(tmp_path):
    """Run a web server of four processes; yield its port, the header of a key and the header of a staff session."""
    port = free_port()
    with redis_server(tmp_path, port=free_port()) as redis_url:
        env = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "REDIS_URL": redis_url,
            "CACHE_REDIS_URL": redis_url,
            "RATE_PER_STAFF": str(LIMIT),
            "API_OPEN": "0",
            "ALLOWED_HOSTS": "127.0.0.1",
            "SECOND_FACTOR": "0",
        }
        run_manage(env, "migrate", "-v0")
        secret, session = run_manage(env, "shell", "-v0", "-c", SETUP_SCRIPT).split()
        with run_process([*commands.web_command(port), "--workers", "4"], tmp_path, **env) as (process, log):
            wait_until(lambda: is_listening(port), process, log)
            yield port, {"Authorization": f"Bearer {secret}"}, {"Cookie": f"sessionid={session}"}


def send_requests(port, headers, count):
    """Send *count* requests over one connection. Return the status and the rate limit headers of each response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    results = []
    for _ in range(count):
        connection.request("GET", "/api/v1/members?limit=1", headers=headers)
        response = connection.getresponse()
        response.read()
        names = ("RateLimit-Policy", "RateLimit", "Retry-After")
        results.append((response.status, *(response.headers[name] for name in names)))
    connection.close()
    return results


def test_concurrent_requests_are_admitted_exactly_up_to_the_limit(web):
    """Per key and per staff member, over four processes. Every response has the remaining requests."""
    port, key_headers, staff_headers = web
    for policy, headers in (("key", key_headers), ("staff", staff_headers)):
        with ThreadPoolExecutor(THREADS) as threads:
            batches = threads.map(lambda _, h=headers: send_requests(port, h, REQUESTS // THREADS), range(THREADS))
            results = [result for batch in batches for result in batch]
        assert Counter(status for status, *_ in results) == {200: LIMIT, 429: REQUESTS - LIMIT}
        assert {limit_policy for _, limit_policy, *_ in results} == {f'"{policy}";q={LIMIT};w=60'}
        remaining = [limit.split(";")[1] for status, _, limit, _ in results if status == 200]
        assert set(remaining) <= {f"r={n}" for n in range(LIMIT)} and "r=0" in remaining
        for status, _, limit, retry_after in results:
            assert (retry_after is not None and 1 <= int(retry_after) <= 60) if status == 429 else retry_after is None
            assert status == 200 or limit.startswith(f'"{policy}";r=0;t=')
