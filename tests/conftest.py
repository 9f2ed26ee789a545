"""
Settings for the tests, made before Django reads any: a database file and a Redis port of this test process's own.

The database is a file, not memory, so that a real worker process sees what a test wrote.
TEST_DATABASE=postgresql runs the same tests on a PostgreSQL server that is started for them.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import redis
from django.db import connection
from hypothesis import HealthCheck, settings

# Before the import: a module imported without its assertions rewritten is a warning, which is an error here.
pytest.register_assert_rewrite("tests.servers")

from tests import servers  # noqa: E402

pytest_plugins = ["tests.servers"]

# The one profile of all tests: no test fails because the machine is busy, and one database serves all examples of a
# test. A test that needs another number of examples says so with `@settings(max_examples=...)`, its nightly form too.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")

FOLDER = Path(tempfile.mkdtemp(prefix="recsys-tests-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def set_environment() -> None:
    """Give this process its own settings. Under xdist, PostgreSQL is the server of the process that forked this one."""
    port = servers.free_port()
    os.environ.update(
        DJANGO_SETTINGS_MODULE="recsys_project.settings",
        SECRET_KEY="for-tests-only-" + "x" * 32,
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/1",
        EMBEDDER="tiny",
        RECORD_BUFFER_SECONDS="0",  # what is served is recorded by the time that a page is there
        REPLAY_SHARE="0",  # which requests keep their inputs goes by a random id; the tests of it say so
    )
    if os.environ.get("TEST_DATABASE") != "postgresql":
        os.environ["DATABASE_URL"] = f"sqlite:///{FOLDER}/db.sqlite3"
    elif "PYTEST_XDIST_WORKER" not in os.environ:
        server = servers.postgres_server(FOLDER / "postgres")
        os.environ["DATABASE_URL"] = server.__enter__()
        atexit.register(server.__exit__, None, None, None)


set_environment()
django.setup()
# A worker of xdist inherits this process's environment: with the module named in it, pytest-django would read the
# settings before this file has made the worker's own.
del os.environ["DJANGO_SETTINGS_MODULE"]

# Models can be imported only once Django is set up.
from flags import snapshot as flags  # noqa: E402
from recommendations.services import wiring  # noqa: E402
from recommendations.stores import active_policies, resident_facts  # noqa: E402
from recommendations.stores.redis_record_queue import WAITING_KEY, WRITING_KEY  # noqa: E402
from recommendations.task_queue import QUEUES  # noqa: E402

if os.environ["DATABASE_URL"].startswith("sqlite"):
    connection.settings_dict["TEST"]["NAME"] = str(FOLDER / "test.sqlite3")


@pytest.fixture
def fresh_wiring(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the real parts anew for one test, on Redis without slates, records or messages."""
    # Flags and policies are read once a test, whatever the time: the number of queries must not depend on it.
    monkeypatch.setattr(flags, "REFRESH_SECONDS", 1e9)
    monkeypatch.setattr(active_policies, "POLICY_REFRESH_SECONDS", 1e9)
    # A test's own transaction is rolled back after it, and not before: what it wrote holds for as long as it runs.
    monkeypatch.setattr(resident_facts, "reads_committed_data", lambda: True)
    flags.flag_snapshot.invalidate()
    wiring.reset_parts()
    with redis.Redis.from_url(os.environ["CACHE_REDIS_URL"]) as caches, redis.Redis.from_url(redis_url) as broker:
        caches.flushdb()
        # Not all of the broker: a worker that runs already would no longer hear what it is told.
        broker.delete(WAITING_KEY, WRITING_KEY, *(f"recsys:{queue}" for queue in set(QUEUES.values())))
    yield
    flags.flag_snapshot.invalidate()
    wiring.reset_parts()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests out unless they are asked for with -m."""
    if "nightly" not in config.getoption("markexpr"):
        items[:] = [item for item in items if "nightly" not in item.keywords]
