"""What the clone chose once and remembers: its ports and its secrets, in a file that only its owner reads."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

NEEDED_BYTES = 300 * 2**20
PREFERRED_PORTS = {"web_port": 8000, "flower_port": 5555, "redis_port": 6390}
MAX_PORTS_TRIED = 200


class StackError(RuntimeError):
    """The stack cannot start or go on. The message says why, and what to do."""


@dataclass
class StackState:
    """The clone's own choices."""

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
        """Return the state kept in *folder*, with secrets made for those it lacks."""
        path = folder / "stack.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        state = cls(**{name: kept[name] for name in asdict(cls()) if name in kept})
        for name, value in asdict(state).items():
            if value == "":
                setattr(state, name, secrets.token_urlsafe(48 if name == "secret_key" else 15))
        return state

    def save(self, folder: Path) -> None:
        """Keep the state, readable by its owner only."""
        path = folder / "stack.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def choose_ports(self, asked: dict[str, int]) -> list[str]:
        """Choose a free port for each server; return what to tell about ports that had to change."""
        told = []
        for name, preferred in PREFERRED_PORTS.items():
            variable = name.upper()
            if port := asked.get(name, 0):
                if not is_free(port):
                    raise StackError(
                        f"Port {port} ({variable}) is taken by another program. Stop it, or set {variable}."
                    )
                setattr(self, name, port)
                continue
            remembered = getattr(self, name)
            taken = {getattr(self, other) for other in PREFERRED_PORTS if other != name}
            if remembered and is_free(remembered):
                continue
            setattr(self, name, find_free_port(preferred, taken))
            if remembered:
                told.append(f"Port {remembered} is taken by another program; {variable} is {getattr(self, name)} now.")
        return told


def is_free(port: int) -> bool:
    """Return whether a server could listen on *port* of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


def find_free_port(first: int, taken: set[int]) -> int:
    """Return the first free port from *first* on."""
    for port in range(first, first + MAX_PORTS_TRIED):
        if port not in taken and is_free(port):
            return port
    raise StackError(f"No port from {first} to {first + MAX_PORTS_TRIED - 1} is free.")


def prepare_folder(folder: Path) -> IO[str]:
    """
    Make *folder* and lock it for this run; return the open lock, which goes with the process.

    Refuses a folder in use by another run, and a disk without room.
    """
    try:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        lock = (folder / "stack.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StackError(f"{folder} cannot be written ({error.strerror}). Set VAR_DIR to a folder that can.") from error
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise StackError(f"The disk of {folder} has {free >> 20} MB left; {NEEDED_BYTES >> 20} MB are needed.")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise StackError(f"This clone's stack runs already (process {lock.read().strip() or 'unknown'}).") from None
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
