"""
The history of one run: what clients sent and received, what the database recorded, and which faults were injected.

Times are Unix seconds of the test process, whose clock no fault changes. A history is plain data, so that
`checker.py` can check it without a server and a test can write one by hand.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum

Key = tuple[str, ...]
"""The name of a value that one client changes, such as ("block", "m1", "m2")."""


class Outcome(StrEnum):
    """What a client received."""

    RIGHT = "right"
    UNAVAILABLE = "unavailable"  # a 503 that is a problem of RFC 9457
    REFUSED = "refused"  # no answer: the connection was refused or ended
    HUNG = "hung"  # no answer within the client's timeout
    WRONG = "wrong"


@dataclass(frozen=True)
class Answer:
    """One request and what the client received."""

    operation: str
    start: float
    end: float
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Write:
    """A change that a client sent. Without an acknowledgement it may have happened or happen at any time later."""

    key: Key
    value: Hashable
    start: float
    end: float
    is_acknowledged: bool


@dataclass(frozen=True)
class Read:
    """A value that a client read."""

    key: Key
    value: Hashable
    start: float
    end: float


@dataclass(frozen=True)
class Page:
    """A served page: its (post, author) pairs."""

    viewer: str
    posts: tuple[tuple[str, str], ...]
    start: float
    end: float


@dataclass(frozen=True)
class SentEvent:
    """An event that a client sent until it was acknowledged, or until the run ended."""

    event_id: str
    is_acknowledged: bool


@dataclass(frozen=True)
class SentJob:
    """A job that was submitted and acknowledged. *is_cancelled*: a client asked to cancel it."""

    id: str
    items: tuple[str, ...]
    is_cancelled: bool = False
    cancelled_at: float = float("inf")
    """When the cancellation was acknowledged."""


@dataclass(frozen=True)
class Mark:
    """
    A change of a chunk's row, in the order in which the database made them, and its time.

    *change* is the old and the new state, such as "queued>running".
    """

    job: str
    chunk: int
    change: str
    at: float = 0.0


@dataclass(frozen=True)
class FinishedJob:
    """The final row of a job, and the items of its result."""

    state: str
    done: int
    failed: int
    items: tuple[str, ...]


@dataclass(frozen=True)
class Final:
    """The state of the service after the faults have ended and the work has been done."""

    values: dict[Key, Hashable]
    events: dict[str, int]
    """Stored rows by event id."""
    unlearned: int
    """Stored interactions that are not learned."""
    interactions: dict[str, tuple[int, int]]
    """By post: the stored interactions, and how many its popularity counts."""
    served: dict[str, tuple[int, int]]
    """By post: how often stored pages contain it, and how often it was counted as served."""
    jobs: dict[str, FinishedJob]


@dataclass(frozen=True)
class InjectedFault:
    """A fault that was injected. *work_after*: when a worker next learned an event, None if it never did."""

    kind: str
    target: str
    start: float
    end: float
    work_after: float | None = None


@dataclass
class History:
    """Everything that happened in one run."""

    answers: list[Answer] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    events: list[SentEvent] = field(default_factory=list)
    jobs: list[SentJob] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    faults: list[InjectedFault] = field(default_factory=list)
    final: Final | None = None
