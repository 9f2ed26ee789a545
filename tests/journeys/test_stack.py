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
from tests.servers import Stack, embedded_stack, running

PATIENCE_SECONDS = 240
UP = "Press Ctrl-C"


def until(happened: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until it happened; fail with what was told."""
    deadline = time.monotonic() + PATIENCE_SECONDS
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


def none_left(folder: Path) -> None:
    """Wait until no process of the stack is left."""
    until(lambda: not processes_of(folder), lambda: str([p.cmdline() for p in processes_of(folder)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the state folder, spaces and all, of a `make demo` that went well."""
    path = tmp_path_factory.mktemp("a stack é") / "var"
    path.mkdir()
    with embedded_stack(path, "demo") as demo:
        assert demo.process.wait(PATIENCE_SECONDS) == 0, demo.log()
        assert "From start to feed" in demo.log()
        none_left(path)
    return path


@contextmanager
def started_again(folder: Path) -> Iterator[Stack]:
    """Run the stack in a folder where it ran before; yield it once it is up."""
    with embedded_stack(folder) as stack:
        until(lambda: UP in stack.log() or stack.process.poll() is not None, stack.log)
        assert stack.process.poll() is None, stack.log()
        yield stack
    none_left(folder)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Stack]:
    """Return the stack that several tests look at, until one stops it."""
    with started_again(folder) as stack:
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


def test_a_second_start_finds_its_data_and_serves_every_address(up: Stack) -> None:
    assert "New: 671 members" not in up.log()
    for path in ("/readyz", "/explore/", "/api/docs/", "/admin/login/"):
        assert status(up.url + path) == 200, path
    assert status(f"http://127.0.0.1:{up.state['flower_port']}/") == 401


def test_secrets_are_for_their_owner_only(folder: Path) -> None:
    for path in (folder / "stack.json", folder / "redis" / "redis.conf"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_runner_is_refused_while_one_runs(up: Stack, folder: Path) -> None:
    with embedded_stack(folder, "demo") as second:
        assert second.process.wait(PATIENCE_SECONDS) == 1
        assert f"runs already (process {up.process.pid})" in second.log()
    assert status(f"{up.url}/readyz") == 200


def test_a_killed_worker_is_named_and_started_again(up: Stack, folder: Path) -> None:
    before = batch_worker_pids(folder)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: "worker-batch ended" in up.log(), up.log)
    until(lambda: bool(batch_worker_pids(folder) - before), up.log)


def test_ctrl_c_stops_everything_and_succeeds(up: Stack, folder: Path) -> None:
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE_SECONDS) == 0, up.log()
    assert not processes_of(folder)


def test_a_killed_runner_leaves_no_process(folder: Path) -> None:
    with started_again(folder) as stack:
        stack.process.kill()
        none_left(folder)


def test_a_taken_port_is_named_with_its_variable(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with embedded_stack(folder, WEB_PORT=port) as stack:
            assert stack.process.wait(PATIENCE_SECONDS) == 1
            assert f"Port {port} (WEB_PORT) is taken" in stack.log()


def test_a_folder_that_cannot_be_made_is_refused_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "recsys_project.stack", "demo"]
    with running(command, tmp_path, VAR_DIR=str(tmp_path / "file" / "var")) as (process, log):
        assert process.wait(PATIENCE_SECONDS) == 1
        assert "Set VAR_DIR" in log.read_text()


def test_every_line_of_the_log_is_of_the_fields_it_may_have(folder: Path) -> None:
    """Whoever wrote it: the web server, workers, beat; and no line holds a post's text."""
    lines = [line for file in (folder / "log").glob("*.log") for line in file.read_text().splitlines()]
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(told) > 50
    assert {name for line in told for name in line} <= set(FIELDS)
    assert {"request_finished", "task_succeeded"} <= {line["event"] for line in told}
