"""The memory that this process holds, and how much of what there is has been used: by the machine or its container."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP_FOLDER = Path("/sys/fs/cgroup")
"""Where a container (cgroup v2) says what it may use and uses; nothing is there on other systems."""


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    return int(psutil.Process().memory_info().rss)


def memory_usage_share() -> float:
    """Return the share of memory in use, 0 to 1: of the machine's, or of the container's limit if that is nearer."""
    return max(psutil.virtual_memory().percent / 100, container_usage_share(CGROUP_FOLDER))


def available_bytes() -> int:
    """Return what could be used yet, by the machine and by the container's limit."""
    free = int(psutil.virtual_memory().available)
    used, limit = container_usage(CGROUP_FOLDER)
    return max(0, min(free, limit - used)) if limit else free


def container_usage_share(folder: Path) -> float:
    """Return the share of the container's limit in use; 0 if it has none."""
    used, limit = container_usage(folder)
    return used / limit if limit else 0.0


def container_usage(folder: Path) -> tuple[int, int]:
    """Return the bytes in use and the limit; 0 and 0 without one. What the system may drop at any time is not used."""
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text())  # "max" is no number: no limit
        lines = (folder / "memory.stat").read_text().splitlines()
        files = {name: int(value) for name, value in (line.split() for line in lines)}.get("inactive_file", 0)
        return max(0, int((folder / "memory.current").read_text()) - files), limit
    return 0, 0


def freeze_garbage_collector() -> None:
    """Have the collector leave alone what is there by now: going through it stopped a server for 0.2 s at a time."""
    gc.collect()
    gc.freeze()


def trim_heap() -> None:
    """Hand the allocator's free pages back to the system, where the C library can (glibc)."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
