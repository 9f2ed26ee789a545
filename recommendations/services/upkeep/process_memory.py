"""
Memory limits of a process: it frees first what costs least to rebuild.

No process can free the memory of another. Each checks its own after a request or a task, at most every `CHECK_SECONDS`;
beat sends a check to one process of every queue, in case the queue is idle. Above MEMORY_CLEANUP_THRESHOLD the process
drops expired entries. Above MEMORY_EMERGENCY_SHARE of the machine's or the container's memory it drops everything that
a later request can rebuild. The catalogue stays: no feed can be built without it.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from celery.signals import task_postrun
from django.conf import settings
from django.core.signals import request_finished

from monitoring import metrics, system_memory
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.serving.pages import page_cache

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
MIN_GROWTH = 1.1
"""The next clean-up waits until the heap has grown by this factor: memory in use cannot be freed by another one."""
MIN_SCRATCH_SHARE = 0.25
"""Minimum share of scratch memory for which a kernel is recycled."""


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Memory of this process, and usage of the machine or the container."""

    heap_bytes: int
    """Resident memory without the kernels' memory, which WASM_MEMORY_LIMIT limits."""
    kernel_bytes: int
    share_in_use: float


class MemoryGuard:
    """When this process checks next, and its heap after the last clean-up."""

    def __init__(self) -> None:
        self.next_check_at = 0.0
        self.heap_after_cleanup = 0
        self.busy = threading.Lock()


memory_guard = wiring.per_process(MemoryGuard)


def connect_signals() -> None:
    """Check the memory of this process after requests and tasks."""
    request_finished.connect(check_if_due, dispatch_uid="memory")
    task_postrun.connect(check_if_due, dispatch_uid="memory")


def check_if_due(**_: object) -> None:
    """Check the memory if a check is due. Errors are logged: they must not affect a response or a task."""
    if monotonic() < memory_guard().next_check_at:
        return
    try:
        check_memory()
    except Exception:
        log.exception("memory_check_failed")


def check_memory() -> dict[str, int]:
    """Clean up if a threshold is exceeded. Return the bytes that each step freed, an empty dict without a clean-up."""
    guard = memory_guard()
    if not guard.busy.acquire(blocking=False):
        return {}
    try:
        guard.next_check_at = monotonic() + CHECK_SECONDS
        usage = measure_usage()
        observe_usage(usage)
        if usage.share_in_use >= settings.ENV.memory_emergency_share:
            freed = run_cleanup("emergency", EMERGENCY_STEPS)
        elif usage.heap_bytes >= max(settings.ENV.memory_cleanup_threshold, MIN_GROWTH * guard.heap_after_cleanup):
            freed = run_cleanup("cleanup", CLEANUP_STEPS)
        else:
            return {}
        guard.heap_after_cleanup = measure_usage().heap_bytes
        return freed
    finally:
        guard.busy.release()


def measure_usage() -> MemoryUsage:
    """Return the current memory usage."""
    kernels = sum(engine.statistics().memory_bytes for engine in kernels_in_use())
    return MemoryUsage(max(0, system_memory.resident_bytes() - kernels), kernels, system_memory.memory_usage_share())


def observe_usage(usage: MemoryUsage) -> None:
    """Update the metrics of memory and of the profile cache's size."""
    metrics.MEMORY_BYTES.labels("heap").set(usage.heap_bytes)
    metrics.MEMORY_BYTES.labels("kernel").set(usage.kernel_bytes)
    if parts := wiring.vector_parts_holder.get_if_created():
        metrics.CACHE_BYTES.labels("preference_vectors").set(parts.current.profiles.size_bytes())


def run_cleanup(reason: str, steps: dict[str, Callable[[], None]]) -> dict[str, int]:
    """Run *steps* in order. Return the bytes that each step freed."""
    freed = {}
    metrics.MEMORY_CLEANUPS.labels(reason).inc()
    for name, step in steps.items():
        before = system_memory.resident_bytes()
        step()
        freed[name] = max(0, before - system_memory.resident_bytes())
        metrics.MEMORY_FREED_BYTES.labels(name).inc(freed[name])
    log.warning("memory_cleaned", extra={"reason": reason, "bytes_freed": sum(freed.values())})
    return freed


def kernels_in_use() -> list[WasmEngine]:
    """Return the kernels that this process has created."""
    parts = wiring.vector_parts_holder.get_if_created()
    spaces = parts.current.spaces.values() if parts else ()
    return [engine for engines in spaces for engine in engines.values() if isinstance(engine, WasmEngine)]


def evict_expired_profiles() -> None:
    """Evict the expired interest profiles."""
    if parts := wiring.vector_parts_holder.get_if_created():
        parts.current.profiles.evict_expired()


def evict_profiles() -> None:
    """Evict all interest profiles. Each costs one query to load again."""
    if parts := wiring.vector_parts_holder.get_if_created():
        parts.current.profiles.clear()


def evict_facts() -> None:
    """Evict cached viewers, posts, co-likes and pages. The next request reads their rows again."""
    if facts := wiring.resident_facts.get_if_created():
        facts.clear()
    if co_likes := wiring.resident_co_likes.get_if_created():
        co_likes.clear()
    if pages := page_cache.get_if_created():
        pages.clear()


def collect_garbage() -> None:
    """Collect reference cycles, and return free pages to the system."""
    gc.collect()
    system_memory.trim_heap()


def recycle_kernels() -> None:
    """
    Move the rows of kernels with much scratch memory to a new memory, and free the old one.

    A kernel is skipped if the machine has no room for a second copy of its rows.
    """
    for engine in kernels_in_use():
        statistics = engine.statistics()
        scratch = statistics.memory_bytes - statistics.resident_bytes
        if scratch < MIN_SCRATCH_SHARE * statistics.memory_bytes:
            continue
        if system_memory.available_bytes() < statistics.resident_bytes:
            continue
        try:
            engine.recycle()
            metrics.KERNEL_RECYCLES.inc()
        except EngineError:
            log.exception("kernel_not_recycled", extra={"engine": engine.name})


CLEANUP_STEPS = {"expired_profiles": evict_expired_profiles, "garbage": collect_garbage}
EMERGENCY_STEPS = {
    "profiles": evict_profiles,
    "facts": evict_facts,
    "garbage": collect_garbage,
    "kernels": recycle_kernels,
}
"""In this order: the cheapest to rebuild goes first."""
