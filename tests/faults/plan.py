"""Which faults a run injects, and when. The same seed gives the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass

WEB = ("web-1", "web-2")
WORKERS = ("worker-interactive", "worker-batch")
KILL, KILL_CHILD, PAUSE, FLUSH, LOSE_MESSAGES, REFUSE_WRITES, CRASH_DATABASE, CHANGE_CLOCK, FILL_DISK = (
    "process killed", "child process killed", "process paused", "Redis emptied", "messages lost",
    "Redis refuses writes", "database crashes", "clock jumps", "disk full",
)  # fmt: skip
MOMENTARY = {KILL, KILL_CHILD, FLUSH, LOSE_MESSAGES, CRASH_DATABASE}
"""Faults that are over at once. A killed process runs again a second later, as under a process manager."""
MAX_SECONDS = 5.0
"""How long another fault lasts at most."""
CLOCK_JUMPS = (-30.0, 30.0)


@dataclass(frozen=True)
class Fault:
    """A fault to inject, *after* so many seconds without one."""

    kind: str
    target: str
    after: float
    seconds: float


def list_faults(database: str) -> list[tuple[str, str]]:
    """Return every (kind, target) for a database."""
    processes = [*WEB, *WORKERS, "beat", "redis"]
    pausable = [*processes, "postgres"] if database == "postgresql" else processes
    crash = [(CRASH_DATABASE, "postgres")] if database == "postgresql" else []
    return [
        *((KILL, name) for name in processes),
        *((KILL_CHILD, name) for name in (*WEB, *WORKERS)),
        *((PAUSE, name) for name in pausable),
        *((kind, "redis") for kind in (FLUSH, LOSE_MESSAGES, REFUSE_WRITES)),
        *((CHANGE_CLOCK, f"{jump:+.0f} s") for jump in CLOCK_JUMPS),
        (FILL_DISK, "database"),
        *crash,
    ]


def draw_plan(seed: int, seconds: float, database: str) -> list[Fault]:
    """Return faults for a run of *seconds*. Each of them comes once before any comes again, in a random order."""
    rng = random.Random(seed)
    plan: list[Fault] = []
    planned, order = 0.0, list[tuple[str, str]]()
    while planned < seconds:
        order = order or rng.sample(list_faults(database), len(list_faults(database)))
        kind, target = order.pop()
        plan.append(Fault(kind, target, rng.uniform(2, 5), rng.uniform(1, MAX_SECONDS)))
        planned += plan[-1].after + plan[-1].seconds
    return plan
