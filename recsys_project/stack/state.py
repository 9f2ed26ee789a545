"""The ports and secrets of this clone, stored in var/stack.json, which only its owner may read."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

STATE_FILE = "stack.json"
NEEDED_BYTES = 300 * 2**20
PREFERRED_PORTS = {"web_port": 8000, "flower_port": 5555, "redis_port": 6390}
MAX_PORTS_TRIED = 200
claims: dict[int, IO[str]] = {}
"""The locks of the ports that this process has chosen."""


class StackError(RuntimeError):
    """The stack cannot start or continue. The message contains the reason and what to do."""


@dataclass
class StackState:
    """The clone's ports and secrets."""

    web_port: int = 0
    flower_port: int = 0
    redis_port: int = 0
    secret_key: str = ""
    admin_password: str = ""
    flower_password: str = ""
    redis_password: str = ""
    metrics_token: str = ""

    @classmethod
    def load(cls, folder: Path) -> StackState:
        """Return the state stored in *folder*. Missing secrets are generated."""
        path = folder / STATE_FILE
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        state = cls(**{name: stored[name] for name in asdict(cls()) if name in stored})
        for name, value in asdict(state).items():
            if value == "":
                setattr(state, name, secrets.token_urlsafe(48 if name == "secret_key" else 15))
        return state

    def save(self, folder: Path) -> None:
        """Store the state in a file that only its owner may read."""
        path = folder / STATE_FILE
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def choose_ports(self, configured: dict[str, int]) -> list[str]:
        """Choose a free port for each server. Return a message for each port that had to change."""
        messages = []
        for name, preferred in PREFERRED_PORTS.items():
            variable = name.upper()
            if port := configured.get(name, 0):
                if not claim(port):
                    raise StackError(
                        f"Port {port} ({variable}) is in use by another program. Stop that program or set {variable}."
                    )
                setattr(self, name, port)
                continue
            last_port = getattr(self, name)
            taken = {getattr(self, server) for server in PREFERRED_PORTS if server != name}
            if last_port and claim(last_port):
                continue
            setattr(self, name, find_free_port(preferred, taken))
            if last_port:
                messages.append(
                    f"Port {last_port} is in use by another program. Using {getattr(self, name)} as {variable}."
                )
        return messages


def claim(port: int) -> bool:
    """
    Return whether *port* is free, and keep other stacks of this machine from choosing it until this process ends.

    A server uses its port seconds after it was chosen, and the web server shares a port with any other that starts
    (SO_REUSEPORT). So of two clones that start at once, both would answer the requests of each.
    """
    if not is_free(port):
        return False
    if port in claims:
        return True
    path = Path(tempfile.gettempdir(), f"recsys-port-{port}.lock")
    try:
        lock = path.open("a")
    except PermissionError:  # of another user's stack: its servers, once started, are found by `is_free`
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    claims[port] = lock
    return True


def is_free(port: int) -> bool:
    """Return whether no server uses *port* of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_free_port(first: int, taken: set[int]) -> int:
    """Return the first free port at or above *first* that is not in *taken*. Raises `StackError` if there is none."""
    for port in range(first, first + MAX_PORTS_TRIED):
        if port not in taken and claim(port):
            return port
    raise StackError(
        f"No port from {first} to {first + MAX_PORTS_TRIED - 1} is free. Stop a program that uses one of them."
    )


def prepare_folder(folder: Path) -> IO[str]:
    """
    Create *folder* and lock it for this run. Return the open lock file; the lock ends with the process.

    Raises `StackError` if another run uses the folder, or if the disk is full.
    """
    try:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            raise StackError(
                f"The disk of {folder} has {free >> 20} MB left, but {NEEDED_BYTES >> 20} MB are needed. "
                "Free some space."
            )
        lock = (folder / "stack.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StackError(f"Cannot write to {folder} ({error.strerror}). Set VAR_DIR to a writable folder.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with lock:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
        raise StackError(f"The stack of this clone is already running (process {pid}). Stop it first.") from None
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
