"""The embedded stack, as a person starts, breaks and stops it: it says what is wrong and leaves no process."""

import json
import os
import signal
import socket
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
from tests.servers import Stack, embedded_stack, run_process

TIMEOUT_SECONDS = 240
UP = "Press Ctrl-C"


def wait_until(happened: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until it happened; fail with what was told."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < deadline, told()[-4000:]
        time.sleep(0.1)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return every process that was started with its state in *folder*."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VAR_DIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_none_left(folder: Path) -> None:
    """Wait until no process of the stack is left."""
    wait_until(lambda: not processes_of(folder), lambda: str([p.cmdline() for p in processes_of(folder)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the state folder, spaces and all, of a `make demo` that went well."""
    path = tmp_path_factory.mktemp("a stack é") / "var"
    path.mkdir()
    with embedded_stack(path, "demo") as demo:
        assert demo.process.wait(TIMEOUT_SECONDS) == 0, demo.log()
        assert "From start to feed" in demo.log()
        wait_until_none_left(path)
    return path


@contextmanager
def restarted_stack(folder: Path) -> Iterator[Stack]:
    """Run the stack in a folder where it ran before; yield it once it is up."""
    with embedded_stack(folder) as stack:
        wait_until(lambda: UP in stack.log() or stack.process.poll() is not None, stack.log)
        assert stack.process.poll() is None, stack.log()
        yield stack
    wait_until_none_left(folder)


@pytest.fixture(scope="module")
def running_stack(folder: Path) -> Iterator[Stack]:
    """Return the stack that several tests look at, until one stops it."""
    with restarted_stack(folder) as stack:
        yield stack


def status(url: str) -> int:
    """Return the HTTP status that *url* answers with."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def batch_worker_pids(folder: Path) -> set[int]:
    """Return the process ids of the batch worker, its children included."""
    return {process.pid for process in processes_of(folder) if "batch@%h" in process.cmdline()}


def test_a_second_start_finds_its_data_and_serves_every_address(running_stack: Stack) -> None:
    assert "New: 671 members" not in running_stack.log()
    for path in ("/readyz", "/explore/", "/api/docs/", "/admin/login/"):
        assert status(running_stack.url + path) == 200, path
    assert status(f"http://127.0.0.1:{running_stack.state['flower_port']}/") == 401


def test_secrets_are_for_their_owner_only(folder: Path) -> None:
    for path in (folder / "stack.json", folder / "redis" / "redis.conf"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_runner_is_refused_while_one_runs(running_stack: Stack, folder: Path) -> None:
    with embedded_stack(folder, "demo") as second:
        assert second.process.wait(TIMEOUT_SECONDS) == 1
        assert f"runs already (process {running_stack.process.pid})" in second.log()
    assert status(f"{running_stack.url}/readyz") == 200


def test_a_killed_worker_is_named_and_started_again(running_stack: Stack, folder: Path) -> None:
    before = batch_worker_pids(folder)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "worker-batch ended" in running_stack.log(), running_stack.log)
    wait_until(lambda: bool(batch_worker_pids(folder) - before), running_stack.log)


def test_ctrl_c_stops_everything_and_succeeds(running_stack: Stack, folder: Path) -> None:
    running_stack.process.send_signal(signal.SIGINT)
    assert running_stack.process.wait(TIMEOUT_SECONDS) == 0, running_stack.log()
    assert not processes_of(folder)


def test_a_killed_runner_leaves_no_process(folder: Path) -> None:
    with restarted_stack(folder) as stack:
        stack.process.kill()
        wait_until_none_left(folder)


def test_a_taken_port_is_named_with_its_variable(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with embedded_stack(folder, WEB_PORT=port) as stack:
            assert stack.process.wait(TIMEOUT_SECONDS) == 1
            assert f"Port {port} (WEB_PORT) is taken" in stack.log()


def test_a_folder_that_cannot_be_made_is_refused_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "recsys_project.stack", "demo"]
    with run_process(command, tmp_path, VAR_DIR=str(tmp_path / "file" / "var")) as (process, log):
        assert process.wait(TIMEOUT_SECONDS) == 1
        assert "Set VAR_DIR" in log.read_text()


def test_every_line_of_the_log_is_of_the_fields_it_may_have(folder: Path) -> None:
    """Whoever wrote it: the web server, workers, beat; and no line holds a post's text."""
    lines = [line for file in (folder / "log").glob("*.log") for line in file.read_text().splitlines()]
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(told) > 50
    assert {name for line in told for name in line} <= set(FIELDS)
    assert {"request_finished", "task_succeeded"} <= {line["event"] for line in told}
