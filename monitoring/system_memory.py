"""Memory of this process, and memory usage of the machine or its container."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

CGROUP_FOLDER = Path("/sys/fs/cgroup")
"""Directory with the memory limit and usage of a container (cgroup v2). Other systems do not have these files."""


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def memory_usage_share() -> float:
    """Return the share of memory in use, 0 to 1: the larger of the machine's and the container's."""
    return max(psutil.virtual_memory().percent / 100, container_usage_share(CGROUP_FOLDER))


def available_bytes() -> int:
    """Return the available memory of the machine, at most what the container's limit leaves."""
    free = int(psutil.virtual_memory().available)
    used, limit = container_usage(CGROUP_FOLDER)
    return max(0, min(free, limit - used)) if limit else free


def container_usage_share(folder: Path) -> float:
    """Return the share of the container's memory limit in use, 0 without a limit."""
    used, limit = container_usage(folder)
    return used / limit if limit else 0.0


def container_usage(folder: Path) -> tuple[int, int]:
    """
    Return the container's bytes in use and its limit; 0 and 0 without a limit.

    Inactive file pages do not count as used: the kernel can drop them at any time.
    """
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text())  # "max" (no limit) raises ValueError
        lines = (folder / "memory.stat").read_text().splitlines()
        files = {name: int(value) for name, value in (line.split() for line in lines)}.get("inactive_file", 0)
        return max(0, int((folder / "memory.current").read_text()) - files), limit
    return 0, 0


def freeze_garbage_collector() -> None:
    """Exclude all current objects from garbage collection. Scanning them stopped a server for 0.2 s at a time."""
    gc.collect()
    gc.freeze()


def trim_heap() -> None:
    """Return the allocator's free pages to the system, if the C library can (glibc)."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
