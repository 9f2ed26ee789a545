"""The embedded stack starts, restarts failed processes, reports problems, and stops without leaving a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from recsys_project.logs import FIELDS
from tests.servers import ROOT, Stack, embedded_stack, run_process

TIMEOUT_SECONDS = 240
RUNNING_MESSAGE = "Press Ctrl-C"


def wait_until(condition: Callable[[], bool], describe_state: Callable[[], str]) -> None:
    """Wait until *condition* is true; fail with the described state after the timeout."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, describe_state()[-4000:]
        time.sleep(0.1)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return every process whose VAR_DIR is *folder*."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VAR_DIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes


def wait_until_all_stopped(folder: Path) -> None:
    """Wait until no process of the stack is running."""
    wait_until(lambda: not processes_of(folder), lambda: str([p.cmdline() for p in processes_of(folder)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the state folder of a successful `make demo`. Its path contains spaces and a non-ASCII letter."""
    path = tmp_path_factory.mktemp("a stack é") / "var"
    path.mkdir()
    with embedded_stack(path, "demo") as demo:
        assert demo.process.wait(TIMEOUT_SECONDS) == 0, demo.log()
        assert "400 members" in demo.log() and "discovery of demo:ana" in demo.log()
        assert "Time from start to the printed feed" in demo.log()
        wait_until_all_stopped(path)
    return path


@contextmanager
def restarted_stack(folder: Path) -> Iterator[Stack]:
    """Run the stack in a folder with the state of an earlier run; yield it when it is running."""
    with embedded_stack(folder) as stack:
        wait_until(lambda: RUNNING_MESSAGE in stack.log() or stack.process.poll() is not None, stack.log)
        assert stack.process.poll() is None, stack.log()
        yield stack
    wait_until_all_stopped(folder)


@pytest.fixture(scope="module")
def running_stack(folder: Path) -> Iterator[Stack]:
    """Return a running stack that several tests share. The last of them stops it."""
    with restarted_stack(folder) as stack:
        yield stack


def http_status(url: str) -> int:
    """Return the HTTP status of a GET request to *url*."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def batch_worker_pids(folder: Path) -> set[int]:
    """Return the process ids of the batch worker and its child processes."""
    return {process.pid for process in processes_of(folder) if "batch@%h" in process.cmdline()}


def test_a_second_start_reuses_the_data_and_serves_every_page(running_stack: Stack) -> None:
    assert "400 members" not in running_stack.log()
    for path in ("/readyz", "/explore/", "/api/docs/", "/admin/login/"):
        assert http_status(running_stack.url + path) == 200, path
    assert http_status(f"http://127.0.0.1:{running_stack.state['flower_port']}/") == 401


def test_only_the_owner_can_read_the_secrets(folder: Path) -> None:
    for path in (folder / "stack.json", folder / "redis" / "redis.conf"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_command_started_by_any_python_uses_this_stack(running_stack: Stack, folder: Path) -> None:
    """The base interpreter has no Django: the command continues in the environment of the clone."""
    command = [sys._base_executable, "manage.py", "recommend", "demo:ana", "--limit", "1"]
    env = {"PATH": os.environ["PATH"], "VAR_DIR": str(folder)}
    completed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert "demo:ana" in completed.stdout


def test_a_second_start_fails_while_the_stack_runs(running_stack: Stack, folder: Path) -> None:
    with embedded_stack(folder, "demo") as second:
        assert second.process.wait(TIMEOUT_SECONDS) == 1
        assert f"is already running (process {running_stack.process.pid})" in second.log()
    assert http_status(f"{running_stack.url}/readyz") == 200


def test_a_killed_worker_is_reported_and_restarted(running_stack: Stack, folder: Path) -> None:
    before = batch_worker_pids(folder)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "worker-batch ended" in running_stack.log(), running_stack.log)
    wait_until(lambda: bool(batch_worker_pids(folder) - before), running_stack.log)


def test_ctrl_c_stops_every_process_and_exits_with_0(running_stack: Stack, folder: Path) -> None:
    running_stack.process.send_signal(signal.SIGINT)
    assert running_stack.process.wait(TIMEOUT_SECONDS) == 0, running_stack.log()
    assert not processes_of(folder)


def test_a_killed_runner_leaves_no_process(folder: Path) -> None:
    with restarted_stack(folder) as stack:
        stack.process.kill()
        wait_until_all_stopped(folder)


def test_a_port_in_use_is_reported_with_its_variable(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        with embedded_stack(folder, WEB_PORT=port) as stack:
            assert stack.process.wait(TIMEOUT_SECONDS) == 1
            assert f"Port {port} (WEB_PORT) is in use" in stack.log()


def test_an_unwritable_folder_is_reported_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "recsys_project.stack", "demo"]
    with run_process(command, tmp_path, VAR_DIR=str(tmp_path / "file" / "var")) as (process, log):
        assert process.wait(TIMEOUT_SECONDS) == 1
        assert "Set VAR_DIR" in log.read_text()


def test_every_log_line_has_allowed_fields_only(folder: Path) -> None:
    """Checks the lines of the web server, the workers and beat."""
    lines = [line for file in (folder / "log").glob("*.log") for line in file.read_text().splitlines()]
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(entries) > 50
    assert {name for entry in entries for name in entry} <= set(FIELDS)
    assert {"request_finished", "task_succeeded"} <= {entry["event"] for entry in entries}
