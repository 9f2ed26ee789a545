"""
Checks a recorded history. A pure function: `test_checker.py` shows that it finds each kind of violation.

Each key has one writer, which waits for the answer of a write before it sends the next. So the values that a key may
have at a moment are the last one that was acknowledged before it, and those of later writes that had begun by then.
A write without an acknowledgement may take effect at any later time. This is the check of a register for
linearizability (Herlihy and Wing, 1990), in the simple form that one writer per key allows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.history import Final, History, InjectedFault, Key, Outcome, Page, SentJob, Write

RECOVERY_SECONDS = 60.0
"""How long after a fault a client may get no answer. Generous, because the machine may be busy."""
CLOCK_SECONDS = 0.1
"""How far a time of the database may be from the client's: SQLite rounds."""
FINISHED = {"done", "failed", "cancelled"}


@dataclass(frozen=True)
class Violation:
    """A guarantee that the history breaks."""

    guarantee: str
    detail: str


def check_history(history: History) -> list[Violation]:
    """Return every violation."""
    writes = sort_writes(history.writes)
    assert history.final is not None, "The run did not read the final state."
    return [
        *check_answers(history),
        *check_reads(history, writes),
        *check_pages(history.pages, writes),
        *check_events(history),
        *check_counts(history.final),
        *check_jobs(history.jobs, history.final),
        *check_marks(history),
    ]


def sort_writes(writes: Sequence[Write]) -> dict[Key, list[Write]]:
    """Return the writes by key, in the order in which the key's writer sent them."""
    by_key: dict[Key, list[Write]] = defaultdict(list)
    for write in sorted(writes, key=lambda write: write.start):
        by_key[write.key].append(write)
    return by_key


def possible_values(writes: Sequence[Write], start: float, end: float) -> set[Hashable]:
    """Return the values that a key may have had at some time from *start* to *end*. Its first write sets it up."""
    acknowledged = [write for write in writes if write.is_acknowledged and write.end <= start]
    last = acknowledged[-1] if acknowledged else None
    # An earlier write that was never acknowledged may take effect late, and so after the last acknowledged one.
    open_writes = (write for write in writes if write.start <= end and (not write.is_acknowledged or write.end > start))
    return {write.value for write in open_writes} | ({last.value} if last else {None})


def check_answers(history: History) -> Iterator[Violation]:
    """Every answer is right or a clean 503, and only a fault may cost one."""
    for answer in history.answers:
        what = f"{answer.operation}: {answer.detail}"
        if answer.outcome is Outcome.WRONG:
            yield Violation("every answer is right or a clean 503", what)
        if answer.outcome is not Outcome.RIGHT and not has_cause(history.faults, answer.start, answer.end):
            yield Violation("only a fault makes the service unavailable", f"{answer.outcome}: {what}")


def has_cause(faults: Sequence[InjectedFault], start: float, end: float) -> bool:
    """Return whether a fault was active between these times, or had ended a short time before."""
    return any(fault.start <= end and start <= fault.end + RECOVERY_SECONDS for fault in faults)


def check_reads(history: History, writes: Mapping[Key, Sequence[Write]]) -> Iterator[Violation]:
    """No acknowledged change is undone."""
    assert history.final is not None
    for read in history.reads:
        expected = possible_values(writes[read.key], read.start, read.end)
        if read.value not in expected:
            yield Violation("an acknowledged change is read", f"{read.key} is {read.value!r}, not one of {expected}")
    for key, own in writes.items():
        expected = possible_values(own, float("inf"), float("inf"))
        if history.final.values.get(key) not in expected:
            detail = f"{key} is {history.final.values.get(key)!r} in the end, not one of {expected}"
            yield Violation("no acknowledged change is undone", detail)


def check_pages(pages: Sequence[Page], writes: Mapping[Key, Sequence[Write]]) -> Iterator[Violation]:
    """A page contains no post that was hidden from its viewer for the whole time of the request."""
    for page in pages:
        for post, author in page.posts:
            hiding: dict[Key, Hashable] = {
                ("block", page.viewer, author): True,
                ("mute", page.viewer, author): True,
                ("visibility", post): "private",
                ("removed", post): True,
            }
            for key, value in hiding.items():
                if key in writes and possible_values(writes[key], page.start, page.end) == {value}:
                    yield Violation("no page shows a hidden post", f"{page.viewer} was shown {post}: {key}")


def check_events(history: History) -> Iterator[Violation]:
    """Each acknowledged event is stored once."""
    assert history.final is not None
    for event in history.events:
        count = history.final.events.get(event.event_id, 0)
        if count != 1 and (event.is_acknowledged or count):
            yield Violation("each acknowledged event is stored once", f"{event.event_id} is stored {count} times")
    if unknown := set(history.final.events) - {event.event_id for event in history.events}:
        yield Violation("each acknowledged event is stored once", f"nobody sent {sorted(unknown)[:5]}")


def check_counts(final: Final) -> Iterator[Violation]:
    """Each stored event and each stored page is counted once."""
    if final.unlearned:
        yield Violation("each stored event is learned", f"{final.unlearned} interactions are not")
    for what, counts in (("event", final.interactions), ("page", final.served)):
        for post, (stored, counted) in counts.items():
            if stored != counted:
                detail = f"{post}: {stored} stored, {counted} counted"
                yield Violation(f"each stored {what} is counted once", detail)


def check_jobs(jobs: Sequence[SentJob], final: Final) -> Iterator[Violation]:
    """Each item of a job has its effect exactly once, unless the job was cancelled."""
    for job in jobs:
        row = final.jobs.get(job.id)
        if row is None or row.state not in FINISHED:
            yield Violation("no job is lost", f"{job.id} is {row.state if row else 'gone'}")
            continue
        repeated = [item for item, count in Counter(row.items).items() if count > 1]
        if repeated or not set(row.items) <= set(job.items) or row.done + row.failed > len(job.items):
            yield Violation("each item has its effect once", f"{job.id}: {row}")
        if not job.is_cancelled and (row.state, row.done, set(row.items)) != ("done", len(job.items), set(job.items)):
            yield Violation("no item is lost", f"{job.id}: {row}, of {len(job.items)} items")


def check_marks(history: History) -> Iterator[Violation]:
    """A chunk is settled once, and no waiting chunk is claimed once the cancellation of its job is acknowledged."""
    cancelled_at = {job.id: job.cancelled_at for job in history.jobs}
    settled: set[tuple[str, int]] = set()
    for mark in history.marks:
        old, _, new = mark.change.partition(">")
        chunk = (mark.job, mark.chunk)
        if old in FINISHED or chunk in settled:
            yield Violation("a chunk is settled once", f"{chunk}: {mark.change}")
        if (old, new) == ("queued", "running") and mark.at > cancelled_at.get(mark.job, float("inf")) + CLOCK_SECONDS:
            yield Violation("nothing is claimed after a cancellation", f"{chunk}: {mark.change}")
        if new in FINISHED:
            settled.add(chunk)
