"""
A process keeps its own memory in bounds: it gives up first what costs least to make anew.

Nobody can clean another process's memory. Each looks at its own after a request or a task, at most every
`CHECK_SECONDS`, and beat has one process of every queue look though nothing else is asked of it. Over MEMORY_CLEANUP_THRESHOLD
what has expired goes; over MEMORY_EMERGENCY_SHARE of the machine, or of the container, all that a later request can
make anew. What stays is the catalogue: without it no feed can be made.
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
"""After a clean-up the next waits until what the process holds has grown so much: what is in use cannot be freed."""
MIN_SCRATCH_SHARE = 0.25
"""Share of a kernel's memory that must be scratch for its rows to be moved."""


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """What this process holds, and how full the machine is."""

    heap_bytes: int
    """All but the kernels' memory, which has a limit of its own: WASM_MEMORY_LIMIT."""
    kernel_bytes: int
    share_in_use: float


class MemoryGuard:
    """When this process looked last, and what it could not give up then."""

    def __init__(self) -> None:
        self.next_check_at = 0.0
        self.heap_after_cleanup = 0
        self.busy = threading.Lock()


memory_guard = wiring.per_process(MemoryGuard)


def connect_memory_checks() -> None:
    """Have this process look after each request and each task."""
    request_finished.connect(check_if_due, dispatch_uid="memory")
    task_postrun.connect(check_if_due, dispatch_uid="memory")


def check_if_due(**_: object) -> None:
    """Check the memory unless that was done a moment ago. A response has been sent by now, and must not be harmed."""
    if monotonic() < memory_guard().next_check_at:
        return
    try:
        check_memory()
    except Exception:
        log.exception("memory_not_checked")


def check_memory() -> dict[str, int]:
    """Clean up if a threshold is passed; return the bytes that each step gave back, nothing if none was taken."""
    own = memory_guard()
    if not own.busy.acquire(blocking=False):
        return {}
    try:
        own.next_check_at = monotonic() + CHECK_SECONDS
        now = measure_usage()
        observe_usage(now)
        if now.share_in_use >= settings.ENV.memory_emergency_share:
            freed = run_cleanup("emergency", EMERGENCY_STEPS)
        elif now.heap_bytes >= max(settings.ENV.memory_cleanup_threshold, MIN_GROWTH * own.heap_after_cleanup):
            freed = run_cleanup("cleanup", CLEANUP_STEPS)
        else:
            return {}
        own.heap_after_cleanup = measure_usage().heap_bytes
        return freed
    finally:
        own.busy.release()


def measure_usage() -> MemoryUsage:
    """Return what is in use now."""
    kernels = sum(engine.statistics().memory_bytes for engine in kernels_in_use())
    return MemoryUsage(max(0, system_memory.resident_bytes() - kernels), kernels, system_memory.memory_usage_share())


def observe_usage(usage: MemoryUsage) -> None:
    """Count what is in use."""
    metrics.MEMORY_BYTES.labels("heap").set(usage.heap_bytes)
    metrics.MEMORY_BYTES.labels("kernel").set(usage.kernel_bytes)
    if parts := wiring.vector_parts_holder.get_if_created():
        metrics.CACHE_BYTES.labels("preference_vectors").set(parts.current.profiles.size_bytes())


def run_cleanup(reason: str, steps: dict[str, Callable[[], None]]) -> dict[str, int]:
    """Take *steps* in their order; return the bytes that the process gave back by each."""
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
    """Return the kernels that this process has made so far."""
    parts = wiring.vector_parts_holder.get_if_created()
    spaces = parts.current.spaces.values() if parts else ()
    return [engine for engines in spaces for engine in engines.values() if isinstance(engine, WasmEngine)]


def evict_expired_profiles() -> None:
    """Forget the members whose half hour in the cache is over."""
    if parts := wiring.vector_parts_holder.get_if_created():
        parts.current.profiles.evict_expired()


def evict_profiles() -> None:
    """Forget what was learned of members: each is one query away."""
    if parts := wiring.vector_parts_holder.get_if_created():
        parts.current.profiles.clear()


def evict_facts() -> None:
    """Forget viewers, posts and pages: the next request of each reads its rows."""
    if facts := wiring.resident_facts.get_if_created():
        facts.clear()
    if kept := page_cache.get_if_created():
        kept.clear()


def collect_garbage() -> None:
    """Free what only refers to itself, and hand the free pages back."""
    gc.collect()
    system_memory.trim_heap()


def recycle_kernels() -> None:
    """Move the rows of kernels that large calls have swollen, where there is room for a second copy of the rows."""
    for engine in kernels_in_use():
        held = engine.statistics()
        scratch = held.memory_bytes - held.resident_bytes
        if scratch < MIN_SCRATCH_SHARE * held.memory_bytes or system_memory.available_bytes() < held.resident_bytes:
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
"""In this order: what costs least to make anew goes first."""
