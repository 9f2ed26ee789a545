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

import psutil

from recsys_project.environment import ROOT
from recsys_project.stack.state import StackError

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 25.0
"""Time that a process has to stop. In this time a worker completes its task or returns it to the queue."""
START_SECONDS = 900.0
"""The longest that a process may take to start, while it makes progress."""
STALL_SECONDS = 120.0
"""A starting process that neither logs nor computes for this long has made no progress."""
REPORT_SECONDS = 10.0
"""Interval of the messages about a process that takes long to start."""
RESTART_WINDOW_SECONDS = 300.0
"""The restarts within this time determine the pause before the next one."""
MAX_PAUSE_SECONDS = 30.0
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
    restart_at: float | None = None
    """When a process that has ended is started again; None while it runs."""

    def start(self) -> None:
        """Start the process. Its output is appended to its log file."""
        self.started_at.append(time.monotonic())
        self.restart_at = None
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

    def progress(self) -> tuple[int, float]:
        """Return the size of the log, and the CPU seconds with those of child processes. Work changes one of them."""
        assert self.popen
        seconds = 0.0
        with contextlib.suppress(psutil.Error):  # the process has just ended
            process = psutil.Process(self.popen.pid)
            for part in (process, *process.children(recursive=True)):
                times = part.cpu_times()
                seconds += times.user + times.system
        return self.log_file.stat().st_size, seconds

    def pause_before_restart(self) -> float:
        """Return the seconds to wait before the next start: none at first, then longer with each recent start."""
        recent = sum(time.monotonic() - at < RESTART_WINDOW_SECONDS for at in self.started_at)
        return min(2.0 ** (recent - 2), MAX_PAUSE_SECONDS) if recent > 1 else 0.0

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

    def wait_for(self, process: Process, ready: Callable[[], bool]) -> None:
        """
        Wait until *ready* is true, however slow the machine is: as long as the process makes progress.

        Prints what it waits for. Raises `StackError` with the log's end if the process ends, makes no progress for
        `STALL_SECONDS`, or is not ready after `START_SECONDS`.
        """
        start = progressed_at = reported_at = time.monotonic()
        progress = process.progress()
        while not ready():
            now = time.monotonic()
            if progress != (progress := process.progress()):
                progressed_at = now
            reason = ""
            if process.has_died():
                reason = "ended during start-up"
            elif now - progressed_at > STALL_SECONDS:
                reason = f"has made no progress for {STALL_SECONDS:.0f} s"
            elif now - start > START_SECONDS:
                reason = f"was not ready within {START_SECONDS:.0f} s"
            if reason:
                raise StackError(f"{process.name} {reason}. The end of {process.log_file}:\n{process.tail()}")
            if now - reported_at > REPORT_SECONDS:
                reported_at = now
                self._print(f"Waiting for {process.name}, which has been starting for {now - start:.0f} s.")
            time.sleep(0.1)

    def restart_dead(self) -> None:
        """
        Restart processes that have ended. One that ends again and again is restarted after ever longer pauses.

        The others go on: a worker that cannot run, for instance without Redis, is no reason to stop the web server.
        """
        for process in filter(Process.has_died, self._all):
            if process.restart_at is None:
                code = process.popen.returncode if process.popen else None
                pause = process.pause_before_restart()
                self._print(
                    f"{process.name} ended (exit code {code}). Restarting it"
                    f"{f' in {pause:.0f} s' if pause else ''}. Log: {process.log_file}"
                )
                process.kill_session()
                process.restart_at = time.monotonic() + pause
            if time.monotonic() >= process.restart_at:
                process.start()

    def stop(self) -> None:
        """Stop all processes, the last started first."""
        for process in reversed(self._all):
            process.stop()
