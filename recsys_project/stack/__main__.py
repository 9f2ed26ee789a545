"""
`python -m recsys_project.stack run|demo`: from a clone with its packages installed to feeds that a worker ranked.

`run` stays up until Ctrl-C; `demo` stops everything once the feed is printed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import redis
from rich.console import Console

from recsys_project.environment import ROOT, Environment
from recsys_project.stack import commands
from recsys_project.stack import redis as embedded_redis
from recsys_project.stack.processes import Processes, die_with_runner
from recsys_project.stack.state import StackError, State, prepare_folder

MEMBER = "movielens:1"
"""The sample's member whose feed is shown."""

console = Console(highlight=False)


class Stack:
    """One run of the embedded stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.state = State.load(folder)
        asked = Environment()
        ports = {"web_port": asked.web_port, "flower_port": asked.flower_port}
        for line in self.state.settle_ports(ports):
            console.print(line)
        self.state.save(folder)
        self.env = os.environ | commands.environment(self.state, folder)
        self.processes = Processes(folder, self.env, console.print)

    def up(self) -> None:
        """Prepare the data, start every process, and have the feeds made."""
        self.step("Redis", self.start_redis)
        self.forget_metrics()
        self.manage("prepare")
        self.step("Web, workers, beat, Flower", self.start_servers)
        self.step("A discovery feed for every member", self.make_feeds)
        self.manage("recommend", MEMBER, "--limit", "10")
        console.print(f"From start to feed: [bold]{time.monotonic() - self.began:.1f} s[/]")

    def step(self, title: str, do: Callable[[], None]) -> None:
        """Do one step and print the time it took."""
        start = time.monotonic()
        console.print(f"[bold]{title}[/] …")
        do()
        console.print(f"  [dim]{title}: {time.monotonic() - start:.1f} s[/]")

    def manage(self, *words: str) -> None:
        """Run a management command; its output is shown."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, check=False, preexec_fn=die_with_runner
        )
        if done.returncode:
            raise StackError(f"`manage.py {' '.join(words)}` failed with exit code {done.returncode}; see above.")

    def start_redis(self) -> None:
        """Start the Redis server, unless REDIS_URL names one that runs elsewhere."""
        if os.environ.get("REDIS_URL"):
            return
        config = embedded_redis.write_config(
            self.folder / "redis", port=self.state.redis_port, password=self.state.redis_password
        )
        process = self.processes.start("redis", [str(embedded_redis.find_binary()), str(config)])
        self.processes.wait_for(process, lambda: redis_answers(self.env["REDIS_URL"]))

    def forget_metrics(self) -> None:
        """Empty the folder in which the processes count: each that ever ran left its files there."""
        folder = Path(self.env["PROMETHEUS_MULTIPROC_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.db"):
            file.unlink()

    def start_servers(self) -> None:
        """Start the web server, the workers, beat and Flower, and wait until they answer."""
        started = {name: self.processes.start(name, command) for name, command in commands.servers(self.state).items()}
        self.processes.wait_for(started["web"], lambda: page_answers(self.url("/readyz")))
        for name in ("worker-interactive", "worker-batch", "worker-analysis"):
            self.processes.wait_for(started[name], lambda log=started[name].log_file: " ready." in log.read_text())  # type: ignore[misc]

    def make_feeds(self) -> None:
        """Have the workers make a feed for every member, once a day: a second start finds them made."""
        today = f"stack-{time.strftime('%Y-%m-%d', time.gmtime())}"
        self.manage("submit_job", "batch_feeds", "--follow", "--key", today)

    def url(self, path: str) -> str:
        """Return the address of a page of the web server."""
        return f"http://127.0.0.1:{self.state.web_port}{path}"

    def tell(self) -> None:
        """Print every address, and how to get in."""
        flower = f"http://127.0.0.1:{self.state.flower_port}/"
        for name, address in (
            ("Explorer", self.url("/explore/")),
            ("API docs", self.url("/api/docs/")),
            ("Admin", f"{self.url('/admin/')}   user admin, password {self.env['ADMIN_PASSWORD']}"),
            ("Flower", f"{flower}   user admin, password {self.state.flower_password}"),
        ):
            console.print(f"  [bold]{name:9}[/] {address}", soft_wrap=True)

    def stay(self) -> None:
        """Keep everything running."""
        console.print("Press Ctrl-C to stop everything.")
        while True:
            self.processes.watch()
            time.sleep(1)


def redis_answers(url: str) -> bool:
    """Return whether the Redis at *url* answers."""
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def page_answers(url: str) -> bool:
    """Return whether the page is served, with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def leave(signal_number: int, frame: object) -> None:
    """Go the way of Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run the stack; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recsys_project.stack", description=__doc__)
    parser.add_argument("what", choices=("run", "demo"))
    what = parser.parse_args(arguments).what
    signal.signal(signal.SIGTERM, leave)
    stack = None
    try:
        folder = Path(os.environ.get("VAR_DIR") or ROOT / "var")
        with prepare_folder(folder):
            try:
                stack = Stack(folder)
                stack.up()
                stack.tell()
                if what == "run":
                    stack.stay()
            finally:
                if stack:
                    console.print("Stopping …")
                    stack.processes.stop()
    except (StackError, embedded_redis.NoRedisError) as error:
        console.print(f"[bold red]The stack cannot go on.[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
