"""
The protocols of pipeline components, and the cost of a failure of each.

A component fails if it raises an error, or if its result violates the protocol below: a wrong type or length, NaN, an
order that drops a post. Every failure is logged and counted for that component (`recsys_component_failures_total`), and
costs only this:

- a source: its candidates
- a hydrator: its facts; the candidates stay as they were
- a filter: the slate, because posts that could not be checked must not be shown
- a scorer: its score part, which is 0 for every candidate
- a reranker: its order; the order before it stays

The engine is not such a component: if it fails, another engine scores (`services/serving/ranking.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Protocol

from recommendations.contracts import BoolArray, Candidates, Float32Array, Int64Array, Origin, Query, ScoredCandidates

LARGEST_PART = 400.0
"""
The largest absolute value of an unweighted score part. Changes the answer.

Sixteen such parts with the largest weight (10) sum to 64,000, which still fits a float16 of a cached slate.
"""


class Source(Protocol):
    """Returns posts that the viewer may be shown, best first."""

    @property
    def origin(self) -> Origin:
        """The source's name in metrics and in served picks."""
        ...

    def __call__(self, query: Query, eligible: BoolArray) -> Int64Array:
        """
        Return post ids (n,), without duplicates. *eligible* is a mask over the catalogue's rows.

        May be called in any thread, so it must read resident data, or use connections that threads may share.
        """
        ...


class Hydrator(Protocol):
    """Fills in facts of candidates."""

    @property
    def name(self) -> str:
        """The component's name in metrics."""
        ...

    def __call__(self, query: Query, candidates: Candidates) -> Candidates:
        """Return the same candidates (ids, origins, rows), in the same order, with more columns filled."""
        ...


Check = Callable[[Query, Candidates], BoolArray]
"""Returns a mask (n,) of the candidates that pass. A post must not pass if a fact that the check needs is unknown."""


@dataclass(frozen=True)
class Filter:
    """
    A check with a name, for privacy and safety. Explanations do not reveal that such a filter dropped a post.

    `mandatory_filter` creates one from a function.
    """

    name: str
    """The filter's name in metrics."""
    check: Check

    def __call__(self, query: Query, candidates: Candidates) -> BoolArray:
        """Return a mask (n,) of the candidates that pass."""
        return self.check(query, candidates)


@dataclass(frozen=True)
class ExplainedFilter(Filter):
    """A filter by the viewer's own history or preferences, whose effect is explained. See `explained_filter`."""

    sentence: str
    """The explanation of a dropped post, for the viewer. Must not be empty."""

    def __post_init__(self) -> None:
        if not self.sentence.strip():
            raise ValueError(f"Filter {self.name}: give the sentence that explains a dropped post to its viewer.")


def mandatory_filter(check: Check) -> Filter:
    """Return *check* as a filter with the function's name, without an explanation."""
    return Filter(check.__name__, check)


def explained_filter(sentence: str) -> Callable[[Check], ExplainedFilter]:
    """Return a decorator that turns a check into a filter, with *sentence* as the explanation of a dropped post."""

    def build_filter(check: Check) -> ExplainedFilter:
        return ExplainedFilter(check.__name__, check, sentence)

    return build_filter


class Scorer(Protocol):
    """Computes one additive part of the score."""

    @property
    def name(self) -> str:
        """The name of the score part, and of its weight in `Policy`."""
        ...

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """
        Return the unweighted part (n,): finite numbers from -`LARGEST_PART` to `LARGEST_PART`.

        A value depends on its post and the viewer only, never on the other candidates.
        """
        ...


class Reranker(Protocol):
    """Changes the order of the candidates, and drops none."""

    @property
    def name(self) -> str:
        """The component's name in metrics."""
        ...

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """Return the positions (n,) of *scored* in the new order, each exactly once."""
        ...


class StageTiming(NamedTuple):
    """The result and duration of one component in one run."""

    stage: str
    component: str
    seconds: float
    remaining: int
    """Candidates after the component."""
    dropped: int = 0
    failed: bool = False
    ended_at: float = 0.0
    """By `time.perf_counter`."""


@dataclass
class Trace:
    """A record of one run of the pipeline, for metrics and explanations."""

    timings: list[StageTiming] = field(default_factory=list)
    inputs: tuple[Query, Candidates] | None = None
    """The inputs of ranking: the query, and the candidates that passed the filters."""

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
        """Add the timing of one component, which ended now or at *ended_at*."""
        now = perf_counter() if ended_at is None else ended_at
        self.timings.append(StageTiming(stage, component, seconds, remaining, dropped, failed, now))


class FilterError(RuntimeError):
    """A filter failed, so no slate is shown."""
