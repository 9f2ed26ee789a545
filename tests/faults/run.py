"""One run: traffic with faults, the wait for the remaining work, and the check of the recorded history."""

from __future__ import annotations

import bisect
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from tests.faults import plan
from tests.faults.checker import Violation, check_history
from tests.faults.database import Database
from tests.faults.deployment import Deployment, wait_for
from tests.faults.history import History, InjectedFault, Outcome
from tests.faults.traffic import Clients

WORK_SECONDS = float(os.environ.get("FAULT_WORK_SECONDS", "300"))
"""After the last fault, the remaining work must become less within this time, again and again, until none is left."""
WARM_UP_SECONDS = 5


@dataclass(frozen=True)
class Run:
    """A finished run."""

    database: str
    seed: int
    history: History
    violations: list[Violation]
    own_ends: dict[str, int]
    """How often processes ended although no fault ended them, by name."""
    work_seconds: float
    """How long the remaining work took after the last fault."""


def run_faults(
    folder: Path,
    *,
    database: str,
    seed: int,
    seconds: float,
    previous: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Run:
    """
    Run the service for *seconds* with the faults of the seed. The history is also written to *folder*.

    With *previous*, the folder of another version of the code, both versions run side by side and without faults.
    """
    with deployment(folder, database, previous) as service:
        rows = Database(service.database_url)
        clients = Clients(service.ports, service.key, seed)
        clients.set_up()
        rows.add_triggers()
        clients.start()
        time.sleep(WARM_UP_SECONDS)
        if previous:
            time.sleep(seconds)
        for fault in [] if previous else plan.draw_plan(seed, seconds, database):
            time.sleep(fault.after)
            start = time.time()
            report(f"{fault.kind}: {fault.target}, {fault.seconds:.1f} s")
            with service.inject(fault):
                time.sleep(fault.seconds)
            end = start if fault.kind in plan.MOMENTARY else time.time()
            clients.history.faults.append(InjectedFault(fault.kind, fault.target, start, end))
            # Otherwise what this fault costs would be counted as the cost of the next one.
            wait_for(service.is_listening)
        time.sleep(WARM_UP_SECONDS)
        clients.stop()
        stopped = time.monotonic()
        report("waiting for the remaining work")
        wait_for_work(rows)
        history = clients.history
        history.marks, history.final = rows.read_marks(), rows.read_final()
        learned = rows.read_learned_times()
        history.faults = [replace(fault, work_after=next_time(learned, fault.end)) for fault in history.faults]
        write_history(history, folder / "history.txt")
        work_seconds = time.monotonic() - stopped
        return Run(database, seed, history, check_history(history), service.own_ends(), work_seconds)


def wait_for_work(rows: Database) -> None:
    """Wait until no work is left, as long as it becomes less: a slow machine needs long for what it has accepted."""

    def has_less_work_than(count: int) -> bool:
        return rows.count_open_work() < count

    while (remaining := rows.count_open_work()) and wait_for(partial(has_less_work_than, remaining), WORK_SECONDS):
        pass


def write_history(history: History, path: Path) -> None:
    """Write every entry to a line of a file, for people."""
    entries = [
        entry for part in fields(history) if isinstance(rows := getattr(history, part.name), list) for entry in rows
    ]
    path.write_text("\n".join(map(repr, [*entries, history.final])))


@contextlib.contextmanager
def deployment(folder: Path, database: str, previous: Path | None) -> Iterator[Deployment]:
    """Run the service; yield it when its web servers listen."""
    service = Deployment(folder, database)
    try:
        service.start_service(previous)
        yield service
    finally:
        service.stop()


def next_time(times: Sequence[float], moment: float) -> float | None:
    """Return the first of the ascending *times* that is after *moment*."""
    position = bisect.bisect(times, moment)
    return times[position] if position < len(times) else None


# The table


def format_table(runs: Sequence[Run]) -> str:
    """Return a Markdown table: each kind of fault, what users saw, and the time to recover, over all runs."""
    lines = [
        "| fault | of | times | right | 503 | no answer | answers again after | workers work again after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows: dict[tuple[str, str], list[tuple[Sequence[int], float, float | None]]] = defaultdict(list)
    for run in runs:
        faults = run.history.faults
        ends = [*(fault.start for fault in faults[1:]), float("inf")][: len(faults)]
        for fault, end in zip(faults, ends, strict=True):
            key = (fault.kind, fault.target.removesuffix("-1").removesuffix("-2"))
            work = fault.work_after - fault.end if fault.work_after is not None else None
            rows[key].append((*measure_answers(run.history, fault, end), work))
    for (kind, target), measured in sorted(rows.items()):
        right, unavailable, none = (sum(counts[column] for counts, _, _ in measured) for column in range(3))
        work = [seconds for *_, seconds in measured if seconds is not None]
        lines.append(
            f"| {kind} | {target} | {len(measured)} | {right:,} | {unavailable:,} | {none:,} | "
            f"{max(seconds for _, seconds, _ in measured):.1f} s | {f'{max(work):.1f} s' if work else '–'} |"
        )
    return "\n".join(lines)


def measure_answers(history: History, fault: InjectedFault, end: float) -> tuple[Sequence[int], float]:
    """Return the right, unavailable and missing answers until *end*, and the seconds after the fault until the last."""
    answers = [answer for answer in history.answers if fault.start <= answer.start < end]
    none = [answer for answer in answers if answer.outcome in (Outcome.REFUSED, Outcome.HUNG)]
    unavailable = [answer for answer in answers if answer.outcome is Outcome.UNAVAILABLE]
    last = max((answer.end for answer in [*none, *unavailable]), default=fault.end)
    counts = (len(answers) - len(none) - len(unavailable), len(unavailable), len(none))
    return counts, max(last - fault.end, 0.0)
