"""
The real processes of the service, under a supervisor that starts those again that have ended, and their faults.

Two web servers, two workers, beat, Redis and the database: the commands of the embedded stack, without its runner, so
that the same faults can be injected on both databases.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from recsys_project.stack import commands
from recsys_project.stack.redis import find_binary, write_config
from recsys_project.stack.state import StackState
from tests import servers
from tests.faults import plan

RESTART_SECONDS = 1.0
"""The supervisor starts a process again after this time."""
FULL_BYTES = 512
"""The largest file that a process may write while the disk is full."""
PASSWORD = "fault-tests"


class Supervised:
    """A process that is started again whenever it ends."""

    def __init__(
        self,
        log: Path,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        *,
        cwd: Path = servers.ROOT,
        user: str | None = None,
    ) -> None:
        self.log, self.own_ends, self.is_expected_to_end = log, 0, False
        self._command, self._cwd, self._env, self.user = [str(word) for word in command], cwd, env, user
        self._ended_at: float | None = None
        self.start()

    def start(self) -> None:
        """Start the process, with its output at the end of its log."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=os.environ | self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
            )

    def watch(self, now: float) -> None:
        """Start the process again if it ended `RESTART_SECONDS` ago. Count an end that no fault caused."""
        if self.process.poll() is None:
            return
        if self._ended_at is None:
            self._ended_at = now
            self.own_ends += not self.is_expected_to_end
            # What the process started would otherwise keep its port.
            self.kill()
        elif now > self._ended_at + RESTART_SECONDS:
            self._ended_at, self.is_expected_to_end = None, False
            self.start()

    def family(self) -> list[psutil.Process]:
        """Return the process and its descendants."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        return []

    def signal(self, number: int) -> None:
        """Send a signal to the process and its descendants."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """End the process and its group at once."""
        self.signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Deployment:
    """The running service."""

    def __init__(self, folder: Path, database: str, **env: str) -> None:
        """Start every process. *database* is sqlite or postgresql."""
        self.database, self.folder, self._is_over = database, folder, threading.Event()
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.ports = [servers.free_port(), servers.free_port()]
        redis_port = servers.free_port()
        self.redis_url = f"redis://:{PASSWORD}@127.0.0.1:{redis_port}/0"
        self.processes: dict[str, Supervised] = {}
        self.env: dict[str, str] = {}
        redis_config = write_config(folder / "redis", port=redis_port, password=PASSWORD)
        self._add("redis", [find_binary(), redis_config], env={})
        servers.wait_until(self._is_redis_up, self.processes["redis"].process, self.processes["redis"].log)
        sqlite, self.key = servers.prepare_database()
        if database == "sqlite":
            shutil.copy(sqlite, folder / "db.sqlite3")
            self.database_url = f"sqlite:///{folder}/db.sqlite3"
        else:
            command, user, self.database_url = servers.prepare_postgres(folder / "postgres")
            self._add("postgres", command, env={}, user=user, cwd=folder / "postgres")
            postgres = self.processes["postgres"]
            servers.wait_until(lambda: servers.is_postgres_up(self.database_url), postgres.process, postgres.log)
        self.env = {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "FAULT_CLOCK": str(self.clock),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "CACHE_REDIS_URL": self.redis_url.removesuffix("0") + "1",
            "API_OPEN": "0",
            "RATE_PER_ADDRESS": "0",
            "BATCH_PROCESSING_SIZE": "4",
            "JOB_LEASE_SECONDS": "10",
        } | env
        if database == "postgresql":
            servers.run_manage(self.env, "migrate", "-v0")
            self.key = servers.create_platform_key(self.env)

    def start_service(self, previous: Path | None = None) -> None:
        """
        Start the web servers, the workers and beat, and supervise all processes.

        *previous* is the folder of another version of the code, which then also runs: as one of the web servers, and as
        a further worker of each kind.
        """
        old = {"cwd": previous, "env": self.env | {"DJANGO_SETTINGS_MODULE": "recsys_project.settings"}}
        for name, port in zip(plan.WEB, self.ports, strict=True):
            self._add(name, commands.web_command(port), **(old if previous and name == plan.WEB[0] else {}))
        for name, queues in zip(plan.WORKERS, ("interactive", "batch,maintenance"), strict=True):
            options = commands.worker_options(queues, 1)
            self._add(name, [*commands.CELERY, "worker", "-n", f"{name}@%h", *options])
            if previous:
                self._add(f"old-{name}", [*commands.CELERY, "worker", "-n", f"old-{name}@%h", *options], **old)
        self._add("beat", commands.server_commands(StackState())["beat"])
        server = self.processes[plan.WEB[0]]
        servers.wait_until(self.is_listening, server.process, server.log)
        threading.Thread(target=self._supervise, daemon=True).start()

    def is_listening(self) -> bool:
        """Return whether each web server listens."""
        return all(map(servers.is_listening, self.ports))

    def stop(self) -> None:
        """End every process."""
        self._is_over.set()
        for server in reversed(self.processes.values()):
            server.kill()
            server.process.wait()

    def own_ends(self) -> dict[str, int]:
        """Return how often processes have ended by themselves."""
        return {name: server.own_ends for name, server in self.processes.items() if server.own_ends}

    def _add(self, name: str, command: Sequence[str | Path], **options: Any) -> None:
        self.processes[name] = Supervised(self.folder / f"{name}.log", command, **({"env": self.env} | options))

    def _supervise(self) -> None:
        while not self._is_over.wait(0.1):
            for server in self.processes.values():
                server.watch(time.monotonic())

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=10)

    def _is_redis_up(self) -> bool:
        with contextlib.suppress(redis.RedisError), self._redis() as client:
            return bool(client.ping())
        return False

    @contextlib.contextmanager
    def inject(self, fault: plan.Fault) -> Iterator[None]:
        """Inject a fault for the time of the block. A process that was killed is awaited at the end."""
        server = self.processes.get(fault.target)
        if fault.kind in (plan.KILL, plan.CRASH_DATABASE):
            assert server is not None
            server.is_expected_to_end, old = True, server.process.pid
            # SIGQUIT is PostgreSQL's immediate shutdown: it recovers from its log, as after a crash.
            server.process.send_signal(signal.SIGQUIT) if fault.kind == plan.CRASH_DATABASE else server.kill()
            wait_for(lambda: server.process.pid != old)
            yield
        elif fault.kind == plan.KILL_CHILD:
            assert server is not None
            server.is_expected_to_end = True
            children = server.family()[1:]
            children[-1].kill() if children else server.kill()
            yield
            server.is_expected_to_end = False
        elif fault.kind == plan.PAUSE:
            assert server is not None
            server.signal(signal.SIGSTOP)
            yield
            server.signal(signal.SIGCONT)
        elif fault.kind == plan.CHANGE_CLOCK:
            self.clock.write_text(fault.target.removesuffix(" s"))
            yield
            self.clock.write_text("0")
        elif fault.kind == plan.FILL_DISK:
            self._limit_files(str(FULL_BYTES))
            yield
            self._limit_files("unlimited")
        else:
            with self._redis() as client:
                self._disturb_redis(client, fault.kind)
                yield
                client.config_set("min-replicas-to-write", 0)

    def _disturb_redis(self, client: redis.Redis, kind: str) -> None:
        if kind == plan.FLUSH:
            client.flushall()
        elif kind == plan.LOSE_MESSAGES:
            client.delete(*(f"recsys:{queue}" for queue in ("interactive", "batch", "maintenance")))
        else:
            assert kind == plan.REFUSE_WRITES, kind
            client.config_set("min-replicas-to-write", 1)

    def _limit_files(self, size: str) -> None:
        """
        Limit the size of the files that the processes with the database's files may write.

        PostgreSQL runs as another user. Root in a container may lack the capability to limit other users' processes, so
        the limit is set as that user, by a program.
        """
        for name, server in self.processes.items():
            if name == "postgres" or (self.database == "sqlite" and name != "redis"):
                for process in server.family():
                    command = ["prlimit", f"--pid={process.pid}", f"--fsize={size}:"]
                    result = subprocess.run(command, user=server.user, capture_output=True, text=True, check=False)
                    assert result.returncode == 0 or not process.is_running(), result.stderr


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Return whether *condition* becomes true within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
