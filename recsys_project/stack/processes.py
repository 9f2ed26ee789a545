"""
Runs the stack's processes: starts them, starts one again that died, stops them all, and leaves none behind.

Each has a session of its own, so that Ctrl-C reaches the runner only and it can stop them in order. On Linux the kernel
ends them if the runner itself is killed.
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
"""How long a process may take to stop by itself. A worker ends its task in this time or hands it back."""
MAX_RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
TAIL_BYTES = 2_000


def die_with_runner() -> None:
    """In the child: be sent SIGTERM when the runner dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Process:
    """One process of the stack, with its log."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log_file: Path
    popen: subprocess.Popen[bytes] | None = None
    started_at: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it, its output going to the end of its log."""
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
                preexec_fn=die_with_runner,  # the runner has one thread: nothing can be held across the fork
            )

    def has_died(self) -> bool:
        """Return whether it was started and is no more."""
        return self.popen is not None and self.popen.poll() is not None

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log_file.read_bytes()[-TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """Ask it to stop, wait, and then end whatever is left of its session."""
        if self.popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_SECONDS)
        self.kill_session()
        self.popen.wait()

    def kill_session(self) -> None:
        """End what is left of its session: a web server that was killed leaves its workers, which still listen."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)


class ProcessGroup:
    """All of them, in the order they start; they stop in the opposite order."""

    def __init__(self, folder: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._folder = folder
        self._env = env
        self._print = say
        self._all: list[Process] = []

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Start a process and keep it."""
        process = Process(name, command, self._env, self._folder / "log" / f"{name}.log")
        self._all.append(process)
        process.start()
        return process

    def wait_for(self, process: Process, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until *ready* is true; raise `StackError` with its log's end if it dies or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            if process.has_died() or time.monotonic() > deadline:
                why = "ended" if process.has_died() else f"was not ready within {seconds:.0f} s"
                raise StackError(f"{process.name} {why}. The end of {process.log_file}:\n{process.tail()}")
            time.sleep(0.1)

    def restart_dead(self) -> None:
        """Start again what has died; raise `StackError` if it dies again and again."""
        for process in self._all:
            if not process.has_died():
                continue
            code = process.popen.returncode if process.popen else None
            recent = [t for t in process.started_at if time.monotonic() - t < RESTART_WINDOW_SECONDS]
            if len(recent) > MAX_RESTARTS:
                raise StackError(
                    f"{process.name} ended {len(recent)} times within {RESTART_WINDOW_SECONDS:.0f} s (exit code {code}). "
                    f"The end of {process.log_file}:\n{process.tail()}"
                )
            self._print(f"{process.name} ended (exit code {code}); it is started again. Its log: {process.log_file}")
            process.kill_session()
            process.start()

    def stop(self) -> None:
        """Stop them all, the last started first."""
        for process in reversed(self._all):
            process.stop()
