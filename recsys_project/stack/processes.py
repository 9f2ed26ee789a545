"""
Start the stack's processes, restart a process that ends, and stop all of them without leaving any behind.

Each process has its own session. Ctrl-C therefore reaches only the runner, which stops the processes in order. On Linux
the kernel terminates them if the runner is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recsys_project.environment import ROOT
from recsys_project.stack.state import StackError

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 25.0
"""Time that a process has to stop. In this time a worker completes its task or returns it to the queue."""
MAX_RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
TAIL_BYTES = 2_000


def die_with_runner() -> None:  # pragma: no cover - runs between fork and exec, which discards what coverage measured
    """In the child process: let the kernel send SIGTERM when the runner ends for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Process:
    """One process of the stack and its log file."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log_file: Path
    popen: subprocess.Popen[bytes] | None = None
    started_at: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start the process. Its output is appended to its log file."""
        self.started_at.append(time.monotonic())
        with self.log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_runner,  # safe: the runner has one thread, so no lock is held during the fork
            )

    def has_died(self) -> bool:
        """Return whether the process was started and has ended."""
        return self.popen is not None and self.popen.poll() is not None

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log_file.read_bytes()[-TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """Terminate the process, wait for it, then kill the rest of its session."""
        if self.popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_SECONDS)
        self.kill_session()
        self.popen.wait()

    def kill_session(self) -> None:
        """Kill the rest of the session: a killed web server leaves workers behind that keep its port."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)


class ProcessGroup:
    """The processes in the order of their start. They are stopped in the opposite order."""

    def __init__(self, folder: Path, env: Mapping[str, str], print_message: Callable[[str], None]) -> None:
        self._folder = folder
        self._env = env
        self._print = print_message
        self._all: list[Process] = []

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Start a process and add it to the group."""
        process = Process(name, command, self._env, self._folder / "log" / f"{name}.log")
        self._all.append(process)
        process.start()
        return process

    def wait_for(self, process: Process, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until *ready* is true. Raises `StackError` with the log's end if the process ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if process.has_died() or time.monotonic() > deadline:
                reason = "ended during start-up" if process.has_died() else f"was not ready within {seconds:.0f} s"
                raise StackError(f"{process.name} {reason}. The end of {process.log_file}:\n{process.tail()}")
            time.sleep(0.1)

    def restart_dead(self) -> None:
        """Restart processes that have ended. Raises `StackError` if one ends too often."""
        for process in filter(Process.has_died, self._all):
            code = process.popen.returncode if process.popen else None
            recent = [t for t in process.started_at if time.monotonic() - t < RESTART_WINDOW_SECONDS]
            if len(recent) > MAX_RESTARTS:
                raise StackError(
                    f"{process.name} ended {len(recent)} times within {RESTART_WINDOW_SECONDS:.0f} s "
                    f"(exit code {code}). The end of {process.log_file}:\n{process.tail()}"
                )
            self._print(f"{process.name} ended (exit code {code}). Restarting it. Log: {process.log_file}")
            process.kill_session()
            process.start()

    def stop(self) -> None:
        """Stop all processes, the last started first."""
        for process in reversed(self._all):
            process.stop()
