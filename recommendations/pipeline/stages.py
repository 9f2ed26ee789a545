"""
What each kind of part promises, and what its failure costs.

A part fails if it raises, or if its answer breaks the promise below: a wrong type or length, NaN, an order that drops a
post. Every failure is logged and counted as that part's own (`recsys_component_failures_total`), and costs only this:

- a source: its candidates
- a hydrator: its facts; the candidates stay as they were
- a filter: the slate, because nothing may be shown unchecked
- a scorer: its part of the score, which is 0 for every candidate
- a reranker: its order; the order before it stays

The engine is no such part: if it fails, another engine scores (`services/serving/ranking.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from recommendations.contracts import BoolArray, Candidates, Float32Array, Int64Array, Origin, Query, ScoredCandidates

LARGEST_PART = 400.0
"""
The largest value that a scorer may give, before its weight, and minus the smallest. Changes the answer.

Sixteen such parts, each with the largest weight (10), are a score that a cached slate can hold as a float16.
"""


class Source(Protocol):
    """Brings posts that the viewer may be shown, best first."""

    @property
    def origin(self) -> Origin:
        """The word for it in metrics and in what is served."""
        ...

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """
        Return post ids, none twice; *eligible* is a mask over the catalogue's rows.

        Called in any thread: what it reads must be resident, or have connections that threads share.
        """
        ...


class Hydrator(Protocol):
    """Fills in facts of candidates; one that fails costs its facts."""

    @property
    def name(self) -> str:
        """The word for it in metrics."""
        ...

    def __call__(self, query: Query, candidates: Candidates) -> Candidates:
        """Return the same candidates (ids, origins, rows), in the same order, with more columns filled."""
        ...


Check = Callable[[Query, Candidates], BoolArray]
"""Returns a mask (n,) of the candidates that pass; a post fails if a fact that the check needs is unknown."""


@dataclass(frozen=True)
class Filter:
    """
    A check with a name. Nobody is told that this filter dropped a post, or why: privacy and safety.

    `mandatory_filter` makes one of a function.
    """

    name: str
    """The word for it in metrics."""
    check: Check

    def __call__(self, query: Query, candidates: Candidates) -> BoolArray:
        """Return a mask (n,) of the candidates that pass."""
        return self.check(query, candidates)


@dataclass(frozen=True)
class ExplainedFilter(Filter):
    """A filter by what the viewer did or asked for: it tells them why it dropped a post. See `explained_filter`."""

    sentence: str
    """What the viewer is told of a dropped post. Raises `ValueError` if it is empty."""

    def __post_init__(self) -> None:
        if not self.sentence.strip():
            raise ValueError(f"filter {self.name}: give the sentence that explains a dropped post to its viewer")


def mandatory_filter(check: Check) -> Filter:
    """Return *check* as a filter with the function's name that never tells why it dropped a post."""
    return Filter(check.__name__, check)


def explained_filter(sentence: str) -> Callable[[Check], ExplainedFilter]:
    """Return a decorator: its function becomes a filter that tells the viewer *sentence* of a post it dropped."""

    def explained(check: Check) -> ExplainedFilter:
        return ExplainedFilter(check.__name__, check, sentence)

    return explained


class Scorer(Protocol):
    """Gives one additive part of the score."""

    @property
    def name(self) -> str:
        """The part's name, and that of its weight in `Policy`."""
        ...

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """
        Return the part (n,) before its weight: finite numbers from -`LARGEST_PART` to `LARGEST_PART`.

        It depends on the post and the viewer, never on the other candidates.
        """
        ...


class Reranker(Protocol):
    """Changes the order and drops none."""

    @property
    def name(self) -> str:
        """The word for it in metrics."""
        ...

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """Return the positions (n,) of *scored* in their new order, each once."""
        ...


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one part did in one run."""

    stage: str
    component: str
    seconds: float
    remaining: int
    """Candidates after it."""
    dropped: int = 0
    failed: bool = False
    ended_at: float = 0.0
    """By `time.perf_counter`."""


@dataclass
class Trace:
    """What happened on the road, for metrics and for explanations."""

    timings: list[StageTiming] = field(default_factory=list)
    inputs: tuple[Query, Candidates] | None = None
    """What was ranked: the query, and the candidates that the filters let through."""

    @property
    def candidate_count(self) -> int:
        """How many candidates were ranked."""
        return len(self.inputs[1]) if self.inputs else 0

    def add_timing(
        self,
        stage: str,
        component: str,
        seconds: float,
        remaining: int,
        *,
        dropped: int = 0,
        failed: bool = False,
        ended_at: float | None = None,
    ) -> None:
        """Keep one part's time, the candidates that it left, and how many it dropped; it ended now, or *ended_at*."""
        now = perf_counter() if ended_at is None else ended_at
        self.timings.append(StageTiming(stage, component, seconds, remaining, dropped, failed, now))


class FilterError(RuntimeError):
    """A filter failed, so nothing is shown."""
