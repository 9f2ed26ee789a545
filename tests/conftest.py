"""
Settings of the tests, set before Django reads them: each test process has its own database file and Redis port.

The database is a file and not in memory, so that a real worker process sees the writes of a test.
TEST_DATABASE=postgresql runs the same tests on a PostgreSQL server that is started for them.
"""

import atexit
import gc
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

# Before the import: pytest warns about modules that were imported before their assertions were rewritten, and warnings
# are errors here.
pytest.register_assert_rewrite("tests.servers")

from tests import servers  # noqa: E402

pytest_plugins = ["tests.servers"]

INDEPENDENT_OF_THE_DATABASE = {
    "access", "admin", "admin_pages", "alerts", "beat", "collaborative_feeds", "commands", "cors", "dashboard",
    "data_commands", "demo_pictures", "deploying", "doctor", "empty_pages", "evaluation", "examples",
    "experiment_admin", "experiment_entry_points", "experiments", "explain", "failing_caches", "fallback",
    "fastembed_text", "feed_filters", "feed_preview", "flag_admin", "flag_api", "flag_services", "flags_live", "flower",
    "generate", "graphql", "import_demo", "import_file", "import_movielens", "interim_analysis", "logs",
    "main_parameters", "maintenance", "metrics", "monitoring", "neighbors", "number_texts", "own_data", "page_cache",
    "page_in_place", "paging", "pictures", "policies", "policy_editor", "process_memory", "profile_files", "quality",
    "rate_limits_over_http", "recommend", "roles", "rollback_docs", "samples", "schema", "schemathesis", "search",
    "show_less_effect", "spark", "tracing", "trained_models", "training_jobs", "versions", "workers",
}  # fmt: skip
"""
Modules about feeds, pages, formats, metrics, caches and processes. CI has half an hour, so it runs them on SQLite only;
the queries of feeds run on both databases (tests/spec/test_sources.py, test_filters.py). `make nightly` runs all on
both.
"""

# The profile of all tests. No deadline, so that no test fails because the machine is busy. All examples of a test share
# one database. A test that needs another number of examples sets `@settings(max_examples=...)`.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")

FOLDER = Path(tempfile.mkdtemp(prefix="recsys-tests-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def set_environment() -> None:
    """Set the environment of this process. Under xdist, all workers share the parent's PostgreSQL server."""
    port = servers.free_port()
    os.environ.setdefault("SHARED_TEST_FOLDER", str(FOLDER))  # a worker of xdist inherits it
    os.environ.update(
        DJANGO_SETTINGS_MODULE="recsys_project.settings",
        SECRET_KEY="for-tests-only-" + "x" * 32,
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/1",
        EMBEDDER="tiny",
        HTTPS="0",
        SECOND_FACTOR="0",
        MODEL_DIR=str(FOLDER / "models"),
        RECORD_BUFFER_SECONDS="0",  # served records are written before the response is returned
        REPLAY_SHARE="0",  # requests are chosen by a random id; tests of replay set another value
        MEMORY_CLEANUP_THRESHOLD="1048576MB",  # no test finds its caches empty because the process has run many tests
        MEMORY_EMERGENCY_SHARE="1",
    )
    if os.environ.get("TEST_DATABASE") != "postgresql":
        os.environ["DATABASE_URL"] = f"sqlite:///{FOLDER}/db.sqlite3"
    elif "PYTEST_XDIST_WORKER" not in os.environ:
        server = servers.postgres_server(FOLDER / "postgres")
        os.environ["DATABASE_URL"] = server.__enter__()
        atexit.register(server.__exit__, None, None, None)


set_environment()
django.setup()
# A worker of xdist inherits this process's environment. With this variable, pytest-django would read the settings
# before this file has set the worker's own environment.
del os.environ["DJANGO_SETTINGS_MODULE"]

# Models can be imported only once Django is set up.
from flags import snapshot as flags  # noqa: E402
from monitoring import extensions  # noqa: E402
from monitoring.dependencies import reset_dependencies  # noqa: E402
from monitoring.system_memory import freeze_garbage_collector  # noqa: E402
from recommendations.services import wiring  # noqa: E402
from recommendations.stores import active_policies, resident_facts  # noqa: E402
from recommendations.stores.redis_record_queue import BATCH_PREFIX, BATCHES_KEY, LEASE_PREFIX, WAITING_KEY  # noqa: E402
from recommendations.task_queue import QUEUES  # noqa: E402
from recsys_project.celery import app  # noqa: E402

# A test that adds to a registry, or that calls a task by its name, must find all of them.
app.loader.import_default_modules()
extensions.load_all()

if os.environ["DATABASE_URL"].startswith("sqlite"):
    connection.settings_dict["TEST"]["NAME"] = str(FOLDER / "test.sqlite3")


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was imported, and run less often: that takes a tenth off the tests' time."""
    freeze_garbage_collector()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(autouse=True)
def fresh_dependencies() -> None:
    """Forget the failures of servers that other tests have not started, or have stopped."""
    reset_dependencies()


@pytest.fixture
def fresh_wiring(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rebuild the real components for one test, on a Redis without slates, records or messages."""
    # Read flags and policies once per test: the number of queries must not depend on the time.
    monkeypatch.setattr(flags, "REFRESH_SECONDS", 1e9)
    monkeypatch.setattr(active_policies, "POLICY_REFRESH_SECONDS", 1e9)
    # A test's transaction is rolled back only after the test, so its uncommitted writes may be cached during the test.
    monkeypatch.setattr(resident_facts, "reads_committed_data", lambda: True)
    flags.flag_snapshot.invalidate()
    wiring.reset_parts()
    with redis.Redis.from_url(os.environ["CACHE_REDIS_URL"]) as caches, redis.Redis.from_url(redis_url) as broker:
        caches.flushdb()
        # Delete these keys only: a running worker needs the broker's other keys to receive messages.
        batches = [key for prefix in (BATCH_PREFIX, LEASE_PREFIX) for key in broker.scan_iter(match=f"{prefix}*")]
        broker.delete(WAITING_KEY, BATCHES_KEY, *batches, *(f"recsys:{queue}" for queue in set(QUEUES.values())))
    yield
    flags.flag_snapshot.invalidate()
    wiring.reset_parts()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Deselect nightly tests unless they are selected with -m, and tests that run on another database only.

    EVERY_MODULE=1 selects every module on PostgreSQL, too.
    """
    database = os.environ.get("TEST_DATABASE", "sqlite")
    items[:] = [item for item in items if all(mark.args == (database,) for mark in item.iter_markers("one_database"))]
    if database == "postgresql" and not os.environ.get("EVERY_MODULE"):
        items[:] = [item for item in items if item.path.stem.removeprefix("test_") not in INDEPENDENT_OF_THE_DATABASE]
    if "nightly" not in config.getoption("markexpr"):
        items[:] = [item for item in items if "nightly" not in item.keywords]
