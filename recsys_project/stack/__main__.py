"""
Start the whole service on this machine, build a feed for every member and print one of them.

`run` keeps the service running until Ctrl-C; `demo` stops it after printing the feed. An empty database gets the demo,
another sample with `--sample`, or the files of a folder with `--data`. `setup` only chooses the ports and secrets of
this clone, so that `manage.py` can be used before the first run.
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

from monitoring.redis_clients import local_client
from recsys_project.environment import ROOT, Environment
from recsys_project.stack import commands
from recsys_project.stack import redis as embedded_redis
from recsys_project.stack.processes import ProcessGroup, die_with_runner
from recsys_project.stack.state import StackError, StackState, prepare_folder

console = Console(highlight=False)


class Stack:
    """One run of the embedded stack. *data_options* are the options of `manage.py prepare` that say what to import."""

    def __init__(self, folder: Path, data_options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.data_options = data_options
        self.started_at = time.monotonic()
        self.state = StackState.load(folder)
        configured = Environment()
        ports = {"web_port": configured.web_port, "flower_port": configured.flower_port}
        for message in self.state.choose_ports(ports):
            console.print(message)
        self.state.save(folder)
        self.env = os.environ | commands.child_environment(self.state, folder)
        self.processes = ProcessGroup(folder, self.env, console.print)

    def start(self) -> None:
        """Prepare the data, start every process and build the feeds."""
        self.run_step("Starting Redis", self.start_redis)
        self.clear_metrics()
        self.run_command("prepare", *self.data_options)
        self.run_step("Starting web server, workers, beat and Flower", self.start_servers)
        self.run_step("Building a discovery feed for every member", self.build_feeds)
        self.run_command("recommend", "--limit", "10")
        console.print(f"Time from start to the printed feed: [bold]{time.monotonic() - self.started_at:.1f} s[/]")

    def run_step(self, title: str, action: Callable[[], None]) -> None:
        """Run one step and print its duration."""
        start = time.monotonic()
        console.print(f"[bold]{title}[/] …")
        action()
        console.print(f"  [dim]done in {time.monotonic() - start:.1f} s[/]")

    def run_command(self, *words: str) -> None:
        """Run a management command and show its output, without log lines below WARNING. Raises `StackError`."""
        env = {"LOG_LEVEL": "WARNING"} | self.env
        completed = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=env, check=False, preexec_fn=die_with_runner
        )
        if completed.returncode:
            raise StackError(
                f"`manage.py {' '.join(words)}` failed with exit code {completed.returncode}. See its output above."
            )

    def start_redis(self) -> None:
        """Start the Redis server, unless REDIS_URL names one that runs elsewhere."""
        if os.environ.get("REDIS_URL"):
            return
        config = embedded_redis.write_config(
            self.folder / "redis", port=self.state.redis_port, password=self.state.redis_password
        )
        process = self.processes.start("redis", [str(embedded_redis.find_binary()), str(config)])
        self.processes.wait_for(process, lambda: is_redis_up(self.env["REDIS_URL"]))

    def clear_metrics(self) -> None:
        """Delete the metrics files of earlier runs: every process leaves some."""
        folder = Path(self.env["PROMETHEUS_MULTIPROC_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.db"):
            file.unlink()

    def start_servers(self) -> None:
        """Start the web server, the workers, beat and Flower; wait until the web server and the workers are ready."""
        started = {
            name: self.processes.start(name, command) for name, command in commands.server_commands(self.state).items()
        }
        self.processes.wait_for(started["web"], lambda: is_page_up(self.url("/readyz")))
        for name in ("worker-interactive", "worker-batch", "worker-analysis", "worker-training"):
            self.processes.wait_for(started[name], lambda log=started[name].log_file: " ready." in log.read_text())  # type: ignore[misc]

    def build_feeds(self) -> None:
        """Let the workers build a feed for every member. The job runs once per day: later starts reuse its result."""
        today = f"stack-{time.strftime('%Y-%m-%d', time.gmtime())}"
        self.run_command("submit_job", "batch_feeds", "--wait", "--idempotency-key", today)

    def url(self, path: str) -> str:
        """Return the URL of a page of the web server."""
        return f"http://127.0.0.1:{self.state.web_port}{path}"

    def print_addresses(self) -> None:
        """Print the URLs of the pages, with user names and passwords."""
        flower = f"http://127.0.0.1:{self.state.flower_port}/"
        for name, address in (
            ("Explorer", self.url("/explore/")),
            ("Docs", self.url("/docs/")),
            ("API docs", self.url("/api/docs/")),
            ("Admin", f"{self.url('/admin/')}   user: admin   password: {self.env['ADMIN_PASSWORD']}"),
            ("Flower", f"{flower}   user: admin   password: {self.state.flower_password}"),
        ):
            console.print(f"  [bold]{name:9}[/] {address}", soft_wrap=True)

    def keep_running(self) -> None:
        """Restart processes that end, until Ctrl-C."""
        console.print("The service is running. Press Ctrl-C to stop it.")
        while True:
            self.processes.restart_dead()
            time.sleep(1)


def is_redis_up(url: str) -> bool:
    """Return whether the Redis server at *url* answers a ping."""
    try:
        with local_client(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def is_page_up(url: str) -> bool:
    """Return whether the page is served with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def raise_keyboard_interrupt(signal_number: int, frame: object) -> None:
    """Handle a signal like Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run the stack; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recsys_project.stack", description=__doc__)
    parser.add_argument("command", choices=("run", "demo", "setup"))
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--sample", help="the sample for an empty database, such as movielens; default: the demo")
    source.add_argument("--data", type=Path, help="folder with members.csv, posts.jsonl …, instead of a sample")
    options = parser.parse_args(arguments)
    command = options.command
    data_options = ["--data", str(options.data.resolve())] if options.data else []
    data_options += ["--sample", options.sample] if options.sample else []
    signal.signal(signal.SIGTERM, raise_keyboard_interrupt)
    stack = None
    try:
        folder = commands.get_folder()
        with prepare_folder(folder):
            if command == "setup":
                Stack(folder)
                return 0
            try:
                stack = Stack(folder, data_options)
                stack.start()
                if command == "run":
                    stack.print_addresses()
                    stack.keep_running()
                console.print("The demo is complete. To keep the service running and browse it, use `make run`.")
            finally:
                if stack:
                    console.print("Stopping …")
                    stack.processes.stop()
    except (StackError, embedded_redis.RedisNotFoundError) as error:
        console.print(f"[bold red]Error:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
