"""
Servers that hang, refuse writes or are killed, under a real web server, worker and beat.

The tests share one set of processes and run in this order: each leaves them running, the last one without Redis. They
assert what is counted in the logs, and that a request ends within its own time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from django.conf import settings
from django.db import OperationalError

from monitoring import dependencies
from monitoring.time_budget import limited_time
from recsys_project.postgresql.base import DatabaseWrapper
from recsys_project.stack.commands import CELERY, server_commands
from recsys_project.stack.state import StackState
from tests import servers
from tests.servers import WebServer

REQUEST_SECONDS = 20
DATABASE_SECONDS = 2
WAIT_SECONDS = 90
"""Maximum time for something to happen. Generous, because the machine may be busy."""
BACK_SECONDS = 15
"""Time within which beat must be back after a kill -9. A process that takes over is running already."""
LOCK = f"{settings.REDBEAT_KEY_PREFIX}:lock"
TOKEN = "t" * 32
BEAT = server_commands(StackState(web_port=1, flower_port=1))["beat"]

pytestmark = pytest.mark.one_database("sqlite")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of *condition*; fail after `WAIT_SECONDS`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


@dataclass
class Log:
    """A log file of which only the lines since the last `skip` count."""

    file: Path
    start: int = 0

    def skip(self) -> None:
        """Ignore the lines so far."""
        self.start = len(self.file.read_bytes())

    def events(self) -> list[dict[str, Any]]:
        """Return the lines since the last `skip`."""
        lines = self.file.read_bytes()[self.start :].decode(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def count(self, *names: str) -> int:
        """Return how many of the events have one of these names."""
        return sum(event["event"] in names for event in self.events())


@dataclass
class Service:
    """The processes of the tests."""

    web: WebServer
    broker: redis.Redis
    beat: Any
    worker: Any
    web_log: Log
    beat_log: Log
    worker_log: Log

    def logs(self) -> tuple[Log, ...]:
        """Return the log of each process."""
        return self.web_log, self.beat_log, self.worker_log

    def feed(self) -> int:
        """Request a feed. Return the status."""
        return self.web.send("GET", "/api/v1/members/reader/feed", credential=self.web.key).status

    def ready(self) -> tuple[int, str, dict[str, str]]:
        """Return the status of /readyz, the overall result, and the result of each check that did not pass."""
        response = self.web.send("GET", "/readyz")
        body = response.json()
        return response.status, body["status"], {k: v for k, v in body["checks"].items() if v != "pass"}

    def submit_job(self, members: int) -> int:
        """Submit a job with a chunk for each member. Return the status."""
        ids = [f"reader-{number}" for number in range(members)]
        body = {"kind": "batch_feeds", "params": {"member_ids": ids}}
        return self.web.send("POST", "/api/v1/jobs", body, credential=self.web.key).status

    def assert_alive(self) -> None:
        """Fail if one of the processes has ended."""
        for process, log in ((self.beat, self.beat_log), (self.worker, self.worker_log)):
            assert process.poll() is None, log.file.read_text()[-3000:]

    def wait_until_recovered(self) -> None:
        """Wait until beat sends tasks again and the worker runs them."""
        for log in self.logs():
            log.skip()
        wait_for(lambda: self.broker_has_lock(), "beat has no lock")
        wait_for(lambda: self.worker_log.count("task_succeeded"), "the worker runs no task")
        self.assert_alive()

    def broker_has_lock(self) -> bool:
        """Return whether a beat holds the lock."""
        return bool(self.broker.exists(LOCK))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a web server, a worker and beat on one Redis."""
    folder = tmp_path_factory.mktemp("faults")
    env = {
        "REQUEST_SECONDS": str(REQUEST_SECONDS),
        "DATABASE_SECONDS": str(DATABASE_SECONDS),
        "BATCH_PROCESSING_SIZE": "1",
        "METRICS_TOKEN": TOKEN,
    }
    with ExitStack() as stack:
        web = stack.enter_context(servers.web_server(folder, **env))
        command = [*CELERY, "worker", "-Q", "interactive,batch,maintenance,analysis", "-c", "1", "-l", "INFO"]
        worker, worker_log = stack.enter_context(servers.run_process(command, folder, **web.env))
        beat, beat_log = stack.enter_context(servers.run_process(BEAT, folder, **web.env))
        broker = stack.enter_context(redis.Redis.from_url(web.env["REDIS_URL"]))
        service = Service(web, broker, beat, worker, Log(web.log_file), Log(beat_log), Log(worker_log))
        web.add_members("author", "reader", *(f"reader-{number}" for number in range(52)))
        web.add_posts(*(f"post-{number}" for number in range(30)), author_id="author")
        service.wait_until_recovered()
        yield service


@contextlib.contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Pause these processes (SIGSTOP) for the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def time_of(action: Callable[[], Any]) -> float:
    """Return the seconds that *action* took."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def waits(log: Log) -> int:
    """Return how many calls of a process have waited for Redis until their timeout."""
    return sum("TimeoutError" in json.dumps(event) for event in log.events())


def test_with_a_paused_redis_only_few_calls_wait_and_every_request_is_answered(service: Service) -> None:
    """Each feed calls Redis several times. Without a breaker, each of these calls would wait."""
    pid = int(service.broker.info()["process_id"])
    service.web_log.skip()
    with paused(pid):
        feeds = 0
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            assert service.feed() == 200
            feeds += 1
        trials = 8 / dependencies.COOL_OFF_SECONDS
        assert 0 < waits(service.web_log) <= 4 * (dependencies.MAX_FAILURES + trials), "one wait has several lines"
        assert feeds > waits(service.web_log)
        for number in range(3):
            service.web.add_posts(f"paused-{number}", author_id="author")
        assert service.web_log.count("task_not_published") >= 2
        assert time_of(lambda: service.submit_job(52)) < REQUEST_SECONDS
        status, overall, checks = service.ready()
        assert (status, overall, checks["redis"]) == (200, "warn", "warn")
    service.wait_until_recovered()


@contextlib.contextmanager
def read_only_replica(broker: redis.Redis) -> Iterator[None]:
    """READONLY: as after a failover to another server."""
    broker.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    broker.execute_command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def too_few_replicas(broker: redis.Redis) -> Iterator[None]:
    """NOREPLICAS."""
    broker.config_set("min-replicas-to-write", 1)
    yield
    broker.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def full_memory(broker: redis.Redis) -> Iterator[None]:
    """OOM."""
    broker.config_set("maxmemory", 1)
    yield
    broker.config_set("maxmemory", 0)


@contextlib.contextmanager
def failed_snapshot(broker: redis.Redis) -> Iterator[None]:
    """MISCONF: the disk is full, for instance. Here a folder has the name of the file."""
    broker.config_set("dbfilename", "is-a-folder")
    folder = Path(str(broker.config_get("dir")["dir"])) / "is-a-folder"
    folder.mkdir()
    broker.config_set("save", "3600 1")
    broker.bgsave()
    wait_for(lambda: broker.info()["rdb_last_bgsave_status"] == "err", "the snapshot does not fail")
    yield
    broker.config_set("save", "")
    broker.config_set("stop-writes-on-bgsave-error", "no")


@pytest.mark.parametrize(
    "refusal",
    [
        read_only_replica,
        too_few_replicas,
        pytest.param(full_memory, marks=pytest.mark.nightly),
        pytest.param(failed_snapshot, marks=pytest.mark.nightly),
    ],
)
def test_a_redis_that_refuses_writes_ends_no_process(service: Service, refusal: Any) -> None:
    for log in service.logs():
        log.skip()
    with refusal(service.broker):
        wait_for(lambda: service.beat_log.count("beat_cannot_schedule"), "beat does not notice")
        assert service.feed() == 200
        service.web.add_posts(f"refused-{refusal.__name__}", author_id="author")
        assert service.web_log.count("task_not_published") > 0
        time.sleep(3)  # the worker polls
        service.assert_alive()
        assert service.beat_log.count("beat_cannot_schedule") == 1, "one line, however long it lasts"
    service.wait_until_recovered()


def test_a_beat_that_waits_takes_over_after_a_kill_and_no_pause_ends_beat(service: Service, tmp_path: Path) -> None:
    """One beat is killed. The other one is then paused for longer than its lock."""
    with servers.run_process(BEAT, tmp_path, **service.web.env) as (second, log_file):
        log = Log(log_file)
        wait_for(lambda: log.count("beat_waits_for_lock"), "the second beat does not start")
        service.beat.kill()
        service.beat.wait()
        took = time_of(lambda: wait_for(lambda: log.count("beat_schedules"), "no beat took over"))
        assert took < BACK_SECONDS
        with paused(second.pid):
            wait_for(lambda: not service.broker_has_lock(), "the lock does not expire")
        wait_for(service.broker_has_lock, "beat does not get its lock back")
        assert second.poll() is None
        lines = log_file.read_text().splitlines()
        banner = next(number for number, line in enumerate(lines) if line.startswith("{"))
        assert all(line.startswith("{") for line in lines[banner:]), "a traceback is a part of one line"
        second.terminate()
        assert second.wait(WAIT_SECONDS) == 0
    assert not service.broker_has_lock(), "a beat that is stopped releases the lock"
    service.beat, service.beat_log.file = restart_beat(service, tmp_path)


BEATS = ExitStack()
"""The beats that tests have started."""


def restart_beat(service: Service, folder: Path) -> Any:
    """Start beat again for the tests that follow. Return its process and its log file."""
    return BEATS.enter_context(servers.run_process(BEAT, folder, **service.web.env))


@pytest.fixture(scope="module", autouse=True)
def stop_beats() -> Iterator[None]:
    """Stop the beats that tests have started."""
    with BEATS:
        yield


def test_a_killed_web_worker_is_replaced_while_the_server_goes_on(service: Service) -> None:
    """With one worker, requests fail until the next one has started."""
    running = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    (server,) = (child for child in running if str(service.web.port) in child.cmdline())
    before = {child.pid for child in server.children()}
    for child in server.children():
        child.kill()
    wait_for(lambda: is_answered(service), "the web server does not answer")
    assert server.is_running() and {child.pid for child in server.children()} - before


def is_answered(service: Service) -> bool:
    """Return whether a feed is served."""
    try:
        return service.feed() == 200
    except OSError:
        return False


def test_with_a_redis_that_refuses_connections_every_write_is_answered(service: Service) -> None:
    """The last test with Redis: it is killed, and its port refuses connections."""
    service.wait_until_recovered()
    os.kill(int(service.broker.info()["process_id"]), signal.SIGKILL)
    for log in service.logs():
        log.skip()
    assert time_of(lambda: service.web.add_posts("alone", author_id="author")) < REQUEST_SECONDS
    assert time_of(lambda: service.submit_job(52)) < REQUEST_SECONDS
    # The job has published the messages of its window, and the post one.
    assert service.web_log.count("task_not_published") > 8
    assert service.feed() == 200
    status, overall, checks = service.ready()
    assert (status, overall, checks["redis"]) == (200, "warn", "warn")
    wait_for(lambda: service.beat_log.count("beat_cannot_schedule"), "beat does not notice")
    service.assert_alive()


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    """Return the URL and the main process of an empty PostgreSQL that a test may pause."""
    folder = tmp_path_factory.mktemp("faults") / "postgres"
    with servers.postgres_server(folder) as url:
        yield url, psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))


def all_processes(process: psutil.Process) -> list[int]:
    """Return the ids of a process and of its children."""
    return [process.pid, *(child.pid for child in process.children(recursive=True))]


@pytest.fixture
def connection(
    postgres: tuple[str, psutil.Process], monkeypatch: pytest.MonkeyPatch, db: None
) -> Iterator[DatabaseWrapper]:
    """Return a connection of a request, as Django uses it."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"database_seconds": DATABASE_SECONDS}))
    dependencies.reset_dependencies()
    parsed = psycopg.conninfo.conninfo_to_dict(postgres[0])
    connection = DatabaseWrapper(
        {
            "NAME": parsed["dbname"],
            "USER": parsed["user"],
            "PASSWORD": "",
            "HOST": parsed["host"],
            "PORT": parsed["port"],
            "OPTIONS": {"connect_timeout": 2},
            "TIME_ZONE": None,
            "CONN_HEALTH_CHECKS": False,
            "CONN_MAX_AGE": None,
            "AUTOCOMMIT": True,
            "ATOMIC_REQUESTS": False,
        }
    )
    yield connection
    connection.close()
    dependencies.reset_dependencies()


def query(connection: DatabaseWrapper, sql: str = "SELECT 1") -> Any:
    """Return the first value of a query of a request."""
    with limited_time(time.monotonic() + REQUEST_SECONDS), connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_with_a_paused_postgresql_requests_fail_within_their_time_and_then_at_once(
    postgres: tuple[str, psutil.Process], connection: DatabaseWrapper
) -> None:
    assert query(connection) == 1
    with paused(*all_processes(postgres[1])):
        for _ in range(dependencies.MAX_FAILURES):
            with pytest.raises(OperationalError, match=r"did not respond|timeout"):
                query(connection)
            connection.close()
        with pytest.raises(OperationalError, match="Not called again yet"):
            query(connection)
    wait_for(lambda: responds(connection), "the database is not called again")


def responds(connection: DatabaseWrapper) -> bool:
    """Return whether a query succeeds."""
    try:
        return bool(query(connection))
    except OperationalError:
        connection.close()
        return False


def test_queries_sent_ahead_are_not_waited_for_without_a_limit(
    postgres: tuple[str, psutil.Process], connection: DatabaseWrapper
) -> None:
    """The caller then runs its queries again, which fails for the same reason."""
    assert query(connection) == 1
    with limited_time(time.monotonic() + REQUEST_SECONDS):
        with paused(*all_processes(postgres[1])):
            pending = connection.send_queries([("SELECT 1", ())])
            assert pending.fetch() is None
            dependencies.dependency("database").record_failure(OSError())
            assert connection.send_queries([("SELECT 1", ())]) is None
        dependencies.reset_dependencies()
        assert connection.send_queries([("SELECT 1", ())]).fetch() == [[(1,)]]


def test_the_server_ends_a_statement_or_a_lock_that_takes_too_long(
    postgres: tuple[str, psutil.Process], connection: DatabaseWrapper
) -> None:
    """The connection stays usable, and the server counts as responding. A task's connection has no such limit."""
    with pytest.raises(OperationalError, match="statement timeout"):
        query(connection, "SELECT pg_sleep(60)")
    with psycopg.connect(postgres[0]) as other:
        other.execute("SELECT pg_advisory_xact_lock(1)")
        with pytest.raises(OperationalError, match="lock timeout"):
            query(connection, "SELECT pg_advisory_lock(1)")
    assert query(connection) == 1
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


@pytest.mark.nightly
def test_with_a_paused_postgresql_the_web_server_answers_503_and_livez(
    postgres: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    env = {"DATABASE_URL": postgres[0], "REQUEST_SECONDS": str(REQUEST_SECONDS), "DATABASE_SECONDS": "2"}
    servers.run_manage(env, "migrate", "-v0")
    scopes = ["--scope", "members:write", "--scope", "feeds:read"]
    key = servers.run_manage(env, "key", "create", "platform", "--per-minute", "0", *scopes).split()[-1]
    with servers.web_server(tmp_path, **env) as web:
        path = "/api/v1/members/reader/feed"
        assert web.send("GET", path, credential=key).status == 404
        with paused(*all_processes(postgres[1])):
            for _ in range(6):
                start = time.monotonic()
                assert web.send("GET", path, credential=key).status == 503
                assert time.monotonic() - start < REQUEST_SECONDS
                assert web.send("GET", "/livez").status == 200
        wait_for(lambda: web.send("GET", path, credential=key).status == 404, "the service does not recover")
