"""
A process keeps its own memory in bounds: it gives up first what costs least to make anew.

Nobody can clean another process's memory. Each looks at its own after a request or a task, at most every
`CHECK_SECONDS`, and beat has one process of every queue look though nothing else is asked of it. Over MEMORY_CLEAN_UP
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

from monitoring import memory, metrics
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.serving.pages import page_cache

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
GROWTH = 1.1
"""After a clean-up the next waits until what the process holds has grown so much: what is in use cannot be freed."""
WORTH_RECYCLING = 0.25
"""Share of a kernel's memory that must be scratch for its rows to be moved."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process holds, and how full the machine is."""

    heap_bytes: int
    """All but the kernels' memory, which has a limit of its own: WASM_MEMORY_LIMIT."""
    kernel_bytes: int
    share_in_use: float


class Guard:
    """When this process looked last, and what it could not give up then."""

    def __init__(self) -> None:
        self.next_look = 0.0
        self.heap_left = 0
        self.busy = threading.Lock()


guard = wiring.per_process(Guard)


def watch() -> None:
    """Have this process look after each request and each task."""
    request_finished.connect(look, dispatch_uid="memory")
    task_postrun.connect(look, dispatch_uid="memory")


def look(**_: object) -> None:
    """Check the memory unless that was done a moment ago. A response has been sent by now, and must not be harmed."""
    if monotonic() < guard().next_look:
        return
    try:
        check_memory()
    except Exception:
        log.exception("memory_not_checked")


def check_memory() -> dict[str, int]:
    """Clean up if a threshold is passed; return the bytes that each step gave back, nothing if none was taken."""
    own = guard()
    if not own.busy.acquire(blocking=False):
        return {}
    try:
        own.next_look = monotonic() + CHECK_SECONDS
        now = usage()
        observe(now)
        if now.share_in_use >= settings.ENV.memory_emergency_share:
            freed = taken("emergency", EMERGENCY)
        elif now.heap_bytes >= max(settings.ENV.memory_clean_up, GROWTH * own.heap_left):
            freed = taken("clean_up", CLEAN_UP)
        else:
            return {}
        own.heap_left = usage().heap_bytes
        return freed
    finally:
        own.busy.release()


def usage() -> Usage:
    """Return what is in use now."""
    kernels = sum(engine.statistics().memory_bytes for engine in kernels_in_use())
    return Usage(max(0, memory.resident_bytes() - kernels), kernels, memory.share_in_use())


def observe(now: Usage) -> None:
    """Count what is in use."""
    metrics.MEMORY_BYTES.labels("heap").set(now.heap_bytes)
    metrics.MEMORY_BYTES.labels("kernel").set(now.kernel_bytes)
    if parts := wiring.parts.if_made():
        metrics.CACHE_BYTES.labels("preference_vectors").set(parts.serving.tastes.size_bytes())


def taken(why: str, steps: dict[str, Callable[[], None]]) -> dict[str, int]:
    """Take *steps* in their order; return the bytes that the process gave back by each."""
    freed = {}
    metrics.MEMORY_CLEAN_UPS.labels(why).inc()
    for name, step in steps.items():
        before = memory.resident_bytes()
        step()
        freed[name] = max(0, before - memory.resident_bytes())
        metrics.MEMORY_FREED.labels(name).inc(freed[name])
    log.warning("memory_cleaned", extra={"why": why, "bytes_freed": sum(freed.values())})
    return freed


def kernels_in_use() -> list[WasmEngine]:
    """Return the kernels that this process has made so far."""
    parts = wiring.parts.if_made()
    spaces = parts.serving.spaces.values() if parts else ()
    return [engine for engines in spaces for engine in engines.values() if isinstance(engine, WasmEngine)]


def expire_profiles() -> None:
    """Forget the members whose half hour in the cache is over."""
    if parts := wiring.parts.if_made():
        parts.serving.tastes.expire()


def drop_profiles() -> None:
    """Forget what was learned of members: each is one query away."""
    if parts := wiring.parts.if_made():
        parts.serving.tastes.clear()


def drop_facts() -> None:
    """Forget viewers, posts and pages: the next request of each reads its rows."""
    if facts := wiring.facts.if_made():
        facts.clear()
    if kept := page_cache.if_made():
        kept.clear()


def collect() -> None:
    """Free what only refers to itself, and hand the free pages back."""
    gc.collect()
    memory.give_back()


def recycle_kernels() -> None:
    """Move the rows of kernels that large calls have swollen, where there is room for a second copy of the rows."""
    for engine in kernels_in_use():
        held = engine.statistics()
        scratch = held.memory_bytes - held.resident_bytes
        if scratch < WORTH_RECYCLING * held.memory_bytes or memory.available_bytes() < held.resident_bytes:
            continue
        try:
            engine.recycle()
            metrics.KERNEL_RECYCLES.inc()
        except EngineError:
            log.exception("kernel_not_recycled", extra={"engine": engine.name})


CLEAN_UP = {"expired_profiles": expire_profiles, "garbage": collect}
EMERGENCY = {
    "profiles": drop_profiles,
    "facts": drop_facts,
    "garbage": collect,
    "kernels": recycle_kernels,
}
"""In this order: what costs least to make anew goes first."""
