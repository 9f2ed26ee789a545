"""The road: from a query to scored candidates in the order they are shown. `feeds.py` says which parts it has."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import NamedTuple

import numpy as np

from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    BoolArray,
    Candidates,
    Float32Array,
    Int64Array,
    Origin,
    Query,
    ScoredCandidates,
    sum_parts,
)
from recommendations.pipeline.stages import (
    LARGEST_PART,
    Filter,
    FilterError,
    Hydrator,
    Reranker,
    Scorer,
    Source,
    Trace,
)
from recommendations.ports import Catalogue, Engine

log = logging.getLogger(__name__)

SOURCE_THREADS = 8
"""Threads that ask sources; over it they wait for one another. Changes the speed."""

TASTE_PARTS = ("taste", "dislike")
GIL_FREE_ORIGINS = frozenset({Origin.NEAREST})
"""Sources that spend their time in the kernel, or waiting for an index, where Python does not."""
IDENTITY = frozenset({"post_ids", "origins", "rows"})
"""Columns of a candidate that no hydrator may change: which post it is, and whose vector the engine scores."""


@cache
def source_threads_of(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process; a forked child has none of its parent's."""
    return ThreadPoolExecutor(SOURCE_THREADS, "sources")


def source_threads() -> ThreadPoolExecutor:
    """Return this process's threads."""
    return source_threads_of(os.getpid())


@dataclass(frozen=True)
class Pipeline:
    """One feed: its parts, in the order they run."""

    catalogue: Catalogue
    sources: Sequence[Source]
    filters: Sequence[Filter]
    scorers: Sequence[Scorer]
    rerankers: Sequence[Reranker]
    engine: Engine | None
    """What scores by taste; None: the feed has no such part, and needs no engine."""
    hydrators: Sequence[Hydrator] = ()


def run_pipeline(pipeline: Pipeline, query: Query, trace: Trace) -> ScoredCandidates:
    """
    Return the candidates of *query* in the order they are shown, at most `query.size` of them.

    Raises `FilterError` if a filter fails; an engine's own error goes through, and the caller chooses another.
    """
    posts = pipeline.catalogue.all_posts()
    eligible = apply_filters(pipeline.filters, query, posts, trace, stage="eligible")
    found = collect_candidates(pipeline.sources, query, eligible, trace)
    resident = pipeline.catalogue.load_facts(found, query.now)
    candidates = apply_hydrators(pipeline.hydrators, query, resident, trace)
    is_unchanged = candidates is resident and pipeline.catalogue.all_posts() is posts
    if is_unchanged and are_all_eligible(candidates, eligible):
        for check in pipeline.filters:
            trace.add_timing("filter", check.name, 0.0, len(candidates))
    else:
        candidates = candidates.take(apply_filters(pipeline.filters, query, candidates, trace, stage="filter"))
    trace.inputs = (query, candidates)
    return rank_candidates(pipeline, query, candidates, trace).take(slice(query.size))


def are_all_eligible(candidates: Candidates, eligible: BoolArray) -> bool:
    """
    Return whether all *candidates* are resident, and let through already by the mask over the resident ones.

    On the same facts the filters say the same again. They are asked again where the facts have changed since, of posts
    that are not resident, and if a source brought what it must not.
    """
    return bool((candidates.rows >= 0).all()) and bool(eligible[candidates.rows].all())


def rank_candidates(pipeline: Pipeline, query: Query, candidates: Candidates, trace: Trace) -> ScoredCandidates:
    """Return all *candidates* in the order they are shown, the slate first: the same for the same, byte for byte."""
    return apply_rerankers(pipeline.rerankers, query, apply_scorers(pipeline, query, candidates, trace), trace)


class SourceResult(NamedTuple):
    """What came of asking one source."""

    post_ids: Int64Array | None
    """None: it failed."""
    seconds: float
    ended_at: float
    """By `time.perf_counter`."""


def run_source(source: Source, query: Query, eligible: BoolArray) -> SourceResult:
    """Ask one source; whatever goes wrong, it costs us its candidates and no more."""
    start = perf_counter()
    found = None
    try:
        found = ids_of(source(query, eligible))
    except Exception:
        log.exception("source_failed", extra={"component": source_name(source), "request_id": str(query.request_id)})
    end = perf_counter()
    return SourceResult(found, end - start, end)


def ids_of(found: Int64Array) -> Int64Array:
    """Return what a source brought; raise `TypeError` if it is no list of ids."""
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"{found!r} is no array (n,) of post ids")
    return found.astype(np.int64, copy=False)


def source_name(source: Source) -> str:
    """Return the word for a source in metrics."""
    return source.origin.name.lower()


def run_sources(sources: Sequence[Source], query: Query, eligible: BoolArray) -> list[SourceResult]:
    """Return what each source brings; while one computes apart, a thread of ours asks the others."""

    def asked(them: Sequence[Source]) -> list[SourceResult]:
        return [run_source(source, query, eligible) for source in them]

    apart = [source for source in sources if source.origin in GIL_FREE_ORIGINS]
    others = [source for source in sources if source.origin not in GIL_FREE_ORIGINS]
    if not apart or not others:
        return asked(sources)
    beside = source_threads().submit(copy_context().run, asked, others)
    here, there = iter(asked(apart)), iter(beside.result())
    return [next(here if source.origin in GIL_FREE_ORIGINS else there) for source in sources]


def collect_candidates(sources: Sequence[Source], query: Query, eligible: BoolArray, trace: Trace) -> Candidates:
    """Return what the sources bring, each post once, with a bit for every source that brought it."""
    ids: list[Int64Array] = []
    bits: list[np.typing.NDArray[np.uint16]] = []
    for source, (post_ids, seconds, ended_at) in zip(sources, run_sources(sources, query, eligible), strict=True):
        kept = 0 if post_ids is None else len(post_ids)
        trace.add_timing("source", source_name(source), seconds, kept, failed=post_ids is None, ended_at=ended_at)
        if post_ids is not None:
            ids.append(post_ids)
            bits.append(np.full(kept, 1 << source.origin, np.uint16))
    if not ids:
        return Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16))
    brought_ids = np.concatenate(ids)
    order = np.argsort(brought_ids, kind="stable")
    brought_ids = brought_ids[order]
    first = np.flatnonzero(np.diff(brought_ids, prepend=-1))
    return Candidates.unknown(brought_ids[first], np.bitwise_or.reduceat(np.concatenate(bits)[order], first))


def apply_hydrators(hydrators: Sequence[Hydrator], query: Query, candidates: Candidates, trace: Trace) -> Candidates:
    """Return the candidates with the facts that the hydrators know of; one that fails leaves them as they were."""
    for hydrator in hydrators:
        start, failed = perf_counter(), False
        try:
            candidates = filled(candidates, hydrator(query, candidates))
        except Exception:
            log.exception("hydrator_failed", extra={"component": hydrator.name, "request_id": str(query.request_id)})
            failed = True
        trace.add_timing("hydrate", hydrator.name, perf_counter() - start, len(candidates), failed=failed)
    return candidates


def filled(before: Candidates, after: Candidates) -> Candidates:
    """Return the candidates *after* a hydrator; raise `ValueError` if a column does not fit those *before* it."""
    if after is before:
        return after
    for name in CANDIDATE_COLUMNS:
        was, column = getattr(before, name), getattr(after, name)
        is_same_kind = (column.shape, column.dtype) == (was.shape, was.dtype)
        if not is_same_kind or (name in IDENTITY and not np.array_equal(column, was)):
            raise ValueError(f"{name}: a column of {column.dtype}, {column.shape}, is not the one of these candidates")
    return after


def apply_filters(
    filters: Sequence[Filter], query: Query, candidates: Candidates, trace: Trace, *, stage: str
) -> BoolArray:
    """Return the mask of candidates that every filter lets through; raise `FilterError` if one fails."""
    mask, before = np.ones(len(candidates), np.bool_), len(candidates)
    for check in filters:
        start, name = perf_counter(), check.name
        try:
            mask &= mask_of(check, query, candidates)
        except Exception as error:
            trace.add_timing(stage, name, perf_counter() - start, 0, failed=True)
            raise FilterError(f"filter {name} failed; the slate is lost rather than shown unchecked") from error
        kept = int(np.count_nonzero(mask))
        trace.add_timing(stage, name, perf_counter() - start, kept, dropped=before - kept)
        before = kept
    return mask


def mask_of(check: Filter, query: Query, candidates: Candidates) -> BoolArray:
    """Return what one filter says; raise `TypeError` if that is no mask (n,): NumPy would stretch one yes over all."""
    mask = check(query, candidates)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (len(candidates),):
        raise TypeError(f"{mask!r} is not a mask of {len(candidates)} candidates")
    return mask


def apply_scorers(pipeline: Pipeline, query: Query, candidates: Candidates, trace: Trace) -> ScoredCandidates:
    """Return the candidates, the highest score first, ties by the lower id."""
    start = perf_counter()
    columns = np.zeros((len(candidates), len(pipeline.scorers)), np.float32)
    for i, scorer in enumerate(pipeline.scorers):
        score_part(scorer, query, candidates, columns[:, i], trace)
    names = tuple(scorer.name for scorer in pipeline.scorers)
    if pipeline.engine:
        names = (*TASTE_PARTS, *names)
        scores, parts = pipeline.engine.score(candidates.rows, query.interests, columns, policy_weights(query, names))
    else:
        parts = columns * policy_weights(query, names)
        scores = sum_parts(parts)
    trace.add_timing(
        "score", pipeline.engine.name if pipeline.engine else "none", perf_counter() - start, len(candidates)
    )
    return ScoredCandidates(candidates, scores, names, parts).take(np.lexsort((candidates.post_ids, -scores)))


def score_part(scorer: Scorer, query: Query, candidates: Candidates, column: Float32Array, trace: Trace) -> None:
    """Write a scorer's part into *column* (n,), which is zeros; if it fails, they stay."""
    start = perf_counter()
    try:
        if not hasattr(query.policy, scorer.name):
            raise LookupError(f"Policy has no weight named {scorer.name}")
        column[:] = checked_part(scorer(query, candidates), len(candidates))
    except Exception:
        log.exception("scorer_failed", extra={"component": scorer.name, "request_id": str(query.request_id)})
        trace.add_timing("score", scorer.name, perf_counter() - start, len(candidates), failed=True)


def checked_part(part: Float32Array, n: int) -> Float32Array:
    """Return a scorer's part; raise `TypeError` if it is no column of *n* numbers, `ValueError` if one is too large."""
    if not isinstance(part, np.ndarray) or part.shape != (n,) or part.dtype.kind not in "fiub":
        raise TypeError(f"{part!r} is no column of {n} numbers")
    low, high = part.min(initial=0), part.max(initial=0)
    if not -LARGEST_PART <= low <= high <= LARGEST_PART:  # nor with NaN, which compares as false
        raise ValueError(f"values from {low} to {high}: give finite ones, of {LARGEST_PART} at most")
    return part


def policy_weights(query: Query, names: Sequence[str]) -> Float32Array:
    """Return the policy's weights (n,) for the parts of these names; 0 for a part that the policy does not know."""
    return np.array([getattr(query.policy, name, 0.0) for name in names], np.float32)


def apply_rerankers(
    rerankers: Sequence[Reranker], query: Query, scored: ScoredCandidates, trace: Trace
) -> ScoredCandidates:
    """Return *scored* in the order that the rerankers give; one that fails leaves the order as it was."""
    for reranker in rerankers:
        start = perf_counter()
        try:
            scored = reordered(scored, reranker(query, scored))
        except Exception:
            log.exception("reranker_failed", extra={"component": reranker.name, "request_id": str(query.request_id)})
            trace.add_timing("rerank", reranker.name, perf_counter() - start, len(scored.scores), failed=True)
            continue
        trace.add_timing("rerank", reranker.name, perf_counter() - start, len(scored.scores))
    return scored


def reordered(scored: ScoredCandidates, order: Int64Array) -> ScoredCandidates:
    """Return *scored* in this *order*; raise `TypeError` or `ValueError` if it does not name each position once."""
    n = len(scored.scores)
    if not isinstance(order, np.ndarray) or order.shape != (n,) or order.dtype.kind not in "iu":
        raise TypeError(f"{order!r} is no order of {n} posts")
    if np.array_equal(order, np.arange(n)):
        return scored
    is_placed = np.zeros(n, np.bool_)
    if order.min() >= 0 and order.max() < n:
        is_placed[order] = True
    if not is_placed.all():
        raise ValueError(f"{order!r} does not name each of {n} posts once")
    return scored.take(order)
