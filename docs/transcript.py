"""
Writes docs/clone-to-production.md: `make transcript`, on a machine with PostgreSQL, Redis or Valkey, OpenSSL and Caddy.

It does what docs/getting-started.md and docs/deploying.md describe, in a temporary folder and on free ports, times each
step, and writes what it ran and what was printed. If a step fails, it ends with the output and writes nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests import servers
from tests.previous_version import find_previous_version, git

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "clone-to-production.md"
DATA = "examples/platform"
WEB_UNITS = ("recsys-web@8001", "recsys-web@8002")
OTHER_UNITS = ("recsys-worker-interactive@1", "recsys-worker-batch@1", "recsys-beat")
SITE_PORT = 8443
MAX_LINES, MAX_WIDTH = 24, 110
NOTHING = r"(?!)"
"""The pattern that matches no line."""
PAUSE_SECONDS = 0.05
SCOPES = ("feeds:read", "interactions:write", "members:read")

INTRODUCTION = """\
# From a clone to production, timed

`make transcript` wrote this page: it ran the commands below, in this order, on one machine with {cpus} cores and a
load average of {load:.1f}. Other programs shared the cores, so the seconds are an upper limit.

The commands are those of [getting started](getting-started.md) and [deploying](deploying.md): PostgreSQL with the roles
of least privilege, a Redis for the broker and one for the caches, the processes of `deploy/systemd`, which the script
starts in place of systemd, and `deploy/systemd/Caddyfile` with three options for a port and an authority that need no
privileges. The packages were installed before (`make setup`), and the clones share them.

The first release is `{previous}`: {previous_is}. The second is `{current}`.

| step | seconds |
|---|---|
{table}
| **all** | **{total:.0f}** |
"""


@dataclass
class Step:
    """A section of the page: what was run, what it printed, and how long it took."""

    title: str
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request under load."""

    started_at: float
    seconds: float
    status: int
    """0 if there was no response."""


class Load:
    """Clients that read feeds and send events through the proxy until they are stopped."""

    def __init__(
        self,
        call: Callable[[http.client.HTTPSConnection, str, str, object], int],
        connect: Callable[[], http.client.HTTPSConnection],
    ) -> None:
        self._call, self._connect, self._is_over = call, connect, threading.Event()
        self.answers: list[Answer] = []
        self._event_count = 0
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in ("ada", "bela", "dario")]
        self._threads.append(threading.Thread(target=self._send_events))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def failures(self) -> list[Answer]:
        """Return the requests that were not answered with a status below 300."""
        return [answer for answer in self.answers if not 200 <= answer.status < 300]

    def _read(self, member: str) -> None:
        self._repeat(lambda: ("GET", f"/api/v1/members/{member}/feed?limit=10", None))

    def _send_events(self) -> None:
        def next_event() -> tuple[str, str, object]:
            self._event_count += 1
            event = {"event_id": f"load-{self._event_count}", "member_id": "bela", "post_id": "post-4", "kind": "view"}
            return "POST", "/api/v1/interactions", {"events": [event]}

        self._repeat(next_event)

    def _repeat(self, next_request: Callable[[], tuple[str, str, object]]) -> None:
        """Send requests on one connection; after a failure, on a new one."""
        connection = self._connect()
        while not self._is_over.wait(PAUSE_SECONDS):
            started_at = time.monotonic()
            try:
                status = self._call(connection, *next_request())
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
                connection = self._connect()
            self.answers.append(Answer(started_at, time.monotonic() - started_at, status))
        connection.close()


class Transcript:
    """One run, in *folder*, which may be deleted afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Step] = []
        self.running: dict[str, contextlib.ExitStack] = {}
        self.previous, self.current = find_previous_version(), git("rev-parse", "--short", "HEAD")
        self.programs = servers.postgres_programs()
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Nothing of this process: a command gets its settings from .env only.
        self.clean = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8"}
        self.key = ""
        self.failures: list[Answer] = []

    # Write

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a section."""
        step, start = Step(title), time.monotonic()
        self.steps.append(step)
        sys.stdout.write(f"{title} …\n")
        yield step
        step.seconds = time.monotonic() - start
        sys.stdout.write(f"  done in {step.seconds:.1f} s\n")

    def hide_paths(self, text: str) -> str:
        """Return *text* without this machine's paths."""
        return text.replace(str(self.folder), "/srv").replace(str(ROOT), "URL")

    def shorten(self, text: str) -> str:
        """Return an output for the page: without this machine's paths, and not too long."""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", self.hide_paths(text)).rstrip().splitlines()
        if len(lines) > MAX_LINES:
            lines = [*lines[: MAX_LINES // 2], "…", *lines[-MAX_LINES // 2 :]]
        return "\n".join(line if len(line) <= MAX_WIDTH else f"{line[: MAX_WIDTH - 1]}…" for line in lines)

    def run(
        self, step: Step, command: str, *, cwd: str = "recsys", settings: bool = True, shows: str = "", **env: str
    ) -> str:
        """
        Run a shell command in a folder and return its output. With *settings*, it has the variables of .env.

        The page shows the lines that match the pattern *shows*.
        """
        load = f"set -a; . {self.folder}/.env; set +a; " if settings else ""
        done = subprocess.run(
            ["sh", "-e", "-c", load + command],
            cwd=self.folder / cwd,
            env=self.clean | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"`{command}` failed:\n{done.stdout}")
        shown = self.shorten("\n".join(line for line in done.stdout.splitlines() if re.search(shows, line)))
        step.lines.append(f"$ {self.hide_paths(command)}" + (f"\n{shown}" if shown else ""))
        return done.stdout

    def write_page(self) -> None:
        """Write the page."""
        is_release = self.previous.startswith("v")
        sections = [
            INTRODUCTION.format(
                cpus=os.cpu_count(),
                load=os.getloadavg()[0],
                previous=self.previous if is_release else git("rev-parse", "--short", self.previous),
                previous_is="the newest tag"
                if is_release
                else "the commit before the newest migration, as there is no tag",
                current=self.current,
                table="\n".join(f"| {step.title} | {step.seconds:.1f} |" for step in self.steps),
                total=sum(step.seconds for step in self.steps),
            )
        ]
        for number, step in enumerate(self.steps, 1):
            text = f"## {number}. {step.title} ({step.seconds:.1f} s)\n"
            if step.lines:
                text += "\n```console\n" + "\n".join(step.lines) + "\n```\n"
            sections.append(text + "".join(f"\n{note}\n" for note in step.notes))
        PAGE.write_text("\n".join(sections), encoding="utf-8")

    # Processes

    def start_unit(self, unit: str, release: str) -> None:
        """Start the process of a systemd unit from the folder of a release, with the settings in .env."""
        name, _, instance = unit.partition("@")
        file = self.folder / release / "deploy" / "systemd" / f"{name}{'@' if instance else ''}.service"
        command = re.search(r"^ExecStart=/srv/recsys/(.*)$", file.read_text(), re.MULTILINE)
        assert command is not None
        words = command[1].replace("%%h", "%h").replace("%i", instance)
        shell = f"cd {self.folder / release}; set -a; . {self.folder}/.env; set +a; exec {words}"
        clean = [f"{key}={value}" for key, value in self.clean.items()]
        self._start(unit, ["env", "-i", *clean, "sh", "-c", shell])

    def _start(self, name: str, command: list[str], **options: str) -> tuple[subprocess.Popen[bytes], Path]:
        stack = contextlib.ExitStack()
        process, log = stack.enter_context(servers.run_process(command, self.folder / "log", **options))
        self.running[name] = stack
        return process, log

    def stop(self, name: str) -> None:
        """Stop a process: SIGTERM, as systemd does, and wait until it has ended."""
        self.running.pop(name).close()

    def restart_unit(self, unit: str, release: str) -> None:
        """Replace a process by that of another release."""
        self.stop(unit)
        self.start_unit(unit, release)
        if unit in WEB_UNITS:
            self.wait_until_ready(unit)

    def wait_until_ready(self, unit: str) -> None:
        """Wait until a web server answers /readyz with 200."""
        deadline = time.monotonic() + servers.START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", int(unit.partition("@")[2]), timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.1)
        raise SystemExit(f"{unit} is not ready.")

    # Requests

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection to the proxy that checks its certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        return http.client.HTTPSConnection("localhost", SITE_PORT, timeout=60, context=context)

    def call(self, connection: http.client.HTTPSConnection, method: str, path: str, body: object) -> int:
        """Send a request and return the status of the response."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        return response.status

    def show_request(self, step: Step, method: str, path: str, body: object = None) -> str:
        """Send a request with curl through the proxy and return the response's body."""
        data = f" --json '{json.dumps(body)}'" if body else ""
        command = (
            f"curl --silent --fail --cacert ../ca.crt --header @../key{data} 'https://localhost:{SITE_PORT}{path}'"
        )
        return self.run(step, command, settings=False)

    # Steps

    def clone(self) -> None:
        """Clone the previous release, and rank the example's posts on the embedded stack."""
        with self.step("Clone") as step:
            self.run(step, f"git clone --quiet --no-checkout {ROOT} recsys", cwd=".", settings=False)
            self.run(step, f"git checkout --quiet {self.previous}", settings=False)
            self.link_packages("recsys")
        with self.step("Rank your own data") as step:
            step.notes.append("`make demo DATA=FOLDER` installs the packages and runs this command.")
            command = f".venv/bin/python -m recsys_project.stack demo --data {DATA}"
            self.run(step, command, settings=False, shows=r"^[A-Z].* …$|done in|^Time from")

    def link_packages(self, release: str) -> None:
        """Use this clone's packages in another one."""
        (self.folder / release / ".venv").symlink_to(Path(sys.prefix))

    def deploy(self, admin_url: str, broker: str, cache: str) -> None:
        """Deploy the first release: settings, database, data, processes, proxy."""
        with self.step("Settings and secrets") as step:
            self.run(step, "cp .env.example ../.env && python3 deploy/create_secrets.py ../secrets", settings=False)
            values = {
                "SECRETS_DIR": self.folder / "secrets",
                "MODEL_DIR": self.folder / "models",
                "RATE_PER_ADDRESS": 0,
            }
            with (self.folder / ".env").open("a") as file:
                file.writelines(f"{name}={value}\n" for name, value in values.items())
            self.set_database(admin_url, "recsys")
            for name, url in {"redis_url": broker, "cache_redis_url": cache}.items():
                self.write_secret(name, url)
            lines = [f"{name}={self.hide_paths(str(value))}" for name, value in values.items()]
            step.lines.append("$ tail -3 ../.env\n" + "\n".join(lines))
            step.notes.append(
                "In `secrets/`, `database_url`, `database_owner_url`, `redis_url` and `cache_redis_url` got the URLs "
                "of the servers."
            )
        with self.step("Migrate as the owner, import as the application") as step:
            self.create_database(step, admin_url, "recsys")
            for command in ("migrate -v0", "grant_privileges", "ensure_admin"):
                self.run(step, f'DATABASE_URL="$(cat ../secrets/database_owner_url)" ./manage.py {command}')
            for kind, file in {
                "members": "members.csv",
                "posts": "posts.jsonl",
                "interactions": "interactions.csv",
                "relationships": "relationships.csv",
            }.items():
                self.run(step, f"./manage.py import_data {kind} {DATA}/{file}")
            for command in ("embed", "learn", "collectstatic --noinput -v0"):
                self.run(step, f"./manage.py {command}")
            scopes = " ".join(f"--scope {scope}" for scope in SCOPES)
            command = f"./manage.py key create platform --per-minute 0 {scopes}"
            self.key = self.run(step, command, shows=NOTHING).split()[-1]
            (self.folder / "key").write_text(f"Authorization: Bearer {self.key}\n")
        with self.step("Start two web servers, workers, beat and the proxy with TLS") as step:
            for unit in (*WEB_UNITS, *OTHER_UNITS):
                self.start_unit(unit, "recsys")
                step.lines.append(f"$ systemctl start {unit}")
            for unit in WEB_UNITS:
                self.wait_until_ready(unit)
            self.start_proxy()
            step.lines.append("$ SITE_ADDRESS=localhost caddy run --config deploy/systemd/Caddyfile")
        with self.step("First feed and first event over TLS") as step:
            self.show_request(step, "GET", "/api/v1/members/ada/feed?limit=1")
            event = {"event_id": "first-1", "member_id": "ada", "post_id": "post-4", "kind": "like"}
            answer = self.show_request(step, "POST", "/api/v1/interactions", {"events": [event]})
            assert json.loads(answer)["results"][0]["status"] == "recorded", answer

    def write_secret(self, name: str, value: str) -> None:
        """Replace a secret's file."""
        file = self.folder / "secrets" / name
        file.unlink(missing_ok=True)
        file.write_text(value)

    def set_database(self, admin_url: str, name: str) -> None:
        """Let the processes use this database."""
        for secret, role in {"database_url": "application", "database_owner_url": "owner"}.items():
            url = admin_url.replace("//recsys@", f"//recsys_{role}@").removesuffix("postgres") + name
            self.write_secret(secret, url)

    def create_database(self, step: Step, admin_url: str, name: str) -> None:
        """Create an empty database with its roles."""
        env = {"ADMIN_URL": admin_url, "NEW_URL": admin_url.removesuffix("postgres") + name}
        self.run(step, f'psql -q "$ADMIN_URL" -c "CREATE DATABASE {name}"', **env)
        self.run(step, 'psql -q -v ON_ERROR_STOP=1 "$NEW_URL" -f recsys_project/postgresql/roles.sql', **env)

    def start_proxy(self) -> None:
        """Start Caddy with the repository's file on unprivileged ports, and keep its root certificate for clients."""
        caddy = shutil.which("caddy")
        if caddy is None:
            raise SystemExit("Caddy is not installed: put `caddy` on PATH.")
        options = f"\tskip_install_trust\n\thttp_port {servers.free_port()}\n\thttps_port {SITE_PORT}\n"
        text = (self.folder / "recsys" / "deploy" / "systemd" / "Caddyfile").read_text()
        config = self.folder / "Caddyfile"
        config.write_text(text.replace("\tadmin off\n", f"\tadmin off\n{options}", 1))
        data = self.folder / "caddy"
        process, log = self._start(
            "caddy",
            [caddy, "run", "--config", str(config), "--adapter", "caddyfile"],
            SITE_ADDRESS="localhost",
            XDG_DATA_HOME=str(data),
            XDG_CONFIG_HOME=str(data),
        )
        root = data / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        servers.wait_until(lambda: root.exists() and servers.is_listening(SITE_PORT), process, log)
        shutil.copy(root, self.folder / "ca.crt")
        servers.wait_until(self.is_served, process, log)

    def is_served(self) -> bool:
        """Return whether the proxy has its certificate and passes requests to a web server."""
        try:
            return self.call(self.connect(), "GET", "/api/v1/members/ada/feed?limit=1", None) == 200
        except OSError:
            return False

    def back_up(self) -> None:
        """Run the commands of the page for a backup."""
        with self.step("Backup") as step:
            self.run_script(step, "backup", "recsys")
            self.run(step, "ls -sh recsys.dump", settings=False)

    def run_script(self, step: Step, name: str, release: str) -> None:
        """Run the commands of a block of docs/deploying.md in the folder of a release, as the owner."""
        page = (ROOT / "docs" / "deploying.md").read_text()
        block = re.search(rf"<!-- tested: {name} -->\n```sh\n(.*?)```", page, re.DOTALL)
        assert block is not None
        for command in block[1].strip().splitlines():
            owner_url = (self.folder / "secrets" / "database_owner_url").read_text()
            self.run(step, command, cwd=release, OWNER_URL=owner_url)

    def upgrade(self) -> None:
        """Replace every process by the current release while clients read and write."""
        with self.step("Upgrade under load") as step, Load(self.call, self.connect) as load:
            time.sleep(2)
            self.run(step, f"git clone --quiet {ROOT} next", cwd=".", settings=False)
            self.link_packages("next")
            self.run(step, "./manage.py collectstatic --noinput -v0", cwd="next")
            for command in ("migrate -v0", "grant_privileges"):
                command = f'DATABASE_URL="$(cat ../secrets/database_owner_url)" ./manage.py {command}'
                self.run(step, command, cwd="next")
            for unit in (*WEB_UNITS, *OTHER_UNITS):
                self.restart_unit(unit, "next")
                step.lines.append(f"$ systemctl restart {unit}")
            time.sleep(2)
        self.failures = load.failures()
        times = [1000 * answer.seconds for answer in load.answers]
        step.notes.append(
            f"Meanwhile three clients read feeds and one sent events through the proxy: **{len(times):,} requests, "
            f"{len(self.failures)} failed**. They took {statistics.median(times):.0f} ms in the median and "
            f"{max(times):.0f} ms at most. The clones `recsys` and `next` have the releases before and after it."
        )

    def restore(self, admin_url: str, cache: str) -> None:
        """Restore the backup, made before the upgrade, into an empty database for the current release."""
        with self.step("Restore") as step:
            count = "SELECT count(*) FROM recommendations_interaction"
            before = self.run(step, f'psql -qAt "$(cat ../secrets/database_owner_url)" -c "{count}"', cwd="next")
            for unit in (*WEB_UNITS, *OTHER_UNITS):
                self.stop(unit)
                step.lines.append(f"$ systemctl stop {unit}")
            self.set_database(admin_url, "restored")
            self.create_database(step, admin_url, "restored")
            self.run(step, "cp ../recsys/recsys.dump .", cwd="next", settings=False)
            self.run_script(step, "restore", "next")
            with redis.Redis.from_url(cache) as client:
                client.flushall()
            step.lines.append("# FLUSHALL on the Redis of the caches")
            after = self.run(step, f'psql -qAt "$(cat ../secrets/database_owner_url)" -c "{count}"', cwd="next")
            for unit in (*WEB_UNITS, *OTHER_UNITS):
                self.start_unit(unit, "next")
                step.lines.append(f"$ systemctl start {unit}")
            for unit in WEB_UNITS:
                self.wait_until_ready(unit)
            self.show_request(step, "GET", "/api/v1/members/ada/feed?limit=1")
            step.notes.append(
                f"The {int(before) - int(after):,} interactions since the backup are gone: a backup has nothing of "
                "what came after it."
            )


def main() -> None:
    """Write the page. Exits with a message if a step fails, or if a request during the upgrade did."""
    with tempfile.TemporaryDirectory(prefix="recsys-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "log").mkdir()
        transcript = Transcript(folder)
        transcript.clone()
        admin_url = stack.enter_context(servers.postgres_server(folder / "postgres"))
        urls = []
        for purpose in ("broker", "cache"):
            (folder / purpose).mkdir()
            urls.append(stack.enter_context(servers.redis_server(folder / purpose, port=servers.free_port())))
        stack.callback(lambda: [transcript.stop(unit) for unit in list(transcript.running)])
        transcript.deploy(admin_url, *urls)
        transcript.back_up()
        transcript.upgrade()
        transcript.restore(admin_url, urls[1])
    transcript.write_page()
    if transcript.failures:
        raise SystemExit(f"{len(transcript.failures)} requests failed: {transcript.failures[:5]}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
