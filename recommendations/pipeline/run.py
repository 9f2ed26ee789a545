"""The pipeline: from a query to scored candidates in the order of the slate. `feeds.py` lists the components."""

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
    EMPTY_IDS,
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
"""Threads that run sources. Further requests wait for a free thread. Changes the speed."""

TASTE_PARTS = ("taste", "dislike")
GIL_FREE_ORIGINS = frozenset({Origin.NEAREST})
"""Sources that spend their time in the kernel, without the GIL. See `run_sources`."""
IDENTITY = frozenset({"post_ids", "origins", "rows"})
"""Columns that no hydrator may change: they identify the post, and the row of the vector that the engine scores."""


@cache
def source_threads_of(process: int) -> ThreadPoolExecutor:
    """Return the thread pool of a process. A forked child needs its own, because threads do not survive a fork."""
    return ThreadPoolExecutor(SOURCE_THREADS, "sources")


def source_threads() -> ThreadPoolExecutor:
    """Return the thread pool of this process."""
    return source_threads_of(os.getpid())


@dataclass(frozen=True)
class Pipeline:
    """The components of one feed, in the order they run."""

    catalogue: Catalogue
    sources: Sequence[Source]
    filters: Sequence[Filter]
    scorers: Sequence[Scorer]
    rerankers: Sequence[Reranker]
    engine: Engine | None
    """Scores candidates by taste. None: the feed has no taste part."""
    hydrators: Sequence[Hydrator] = ()


def run_pipeline(pipeline: Pipeline, query: Query, trace: Trace) -> ScoredCandidates:
    """
    Return the candidates of *query* in the order of the slate, at most `query.size` of them.

    The filters run up to two times. First they run over every resident post, which gives the eligibility mask. Sources
    choose only among eligible posts, so that a source with a limit of k returns k posts that may be shown. Then the
    filters run over the candidates. This second run is skipped only if it could change nothing: every candidate is
    resident and eligible, no hydrator filled in facts, and the catalogue was not refreshed in between. Otherwise a
    non-resident post, a post that changed while the sources ran, or a post from a source that ignores the mask would be
    ranked without a check.

    Raises `FilterError` if a filter fails. Errors of the engine are passed on, and the caller chooses another engine.
    """
    posts = pipeline.catalogue.all_posts()
    eligible = apply_filters(pipeline.filters, query, posts, trace, stage="eligible")
    collected = collect_candidates(pipeline.sources, query, eligible, trace)
    resident = pipeline.catalogue.load_facts(collected, query.now)
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
    Return whether all *candidates* are resident and in the mask *eligible* over the catalogue's rows.

    On unchanged facts, the filters would then keep every candidate.
    """
    return bool((candidates.rows >= 0).all()) and bool(eligible[candidates.rows].all())


def rank_candidates(pipeline: Pipeline, query: Query, candidates: Candidates, trace: Trace) -> ScoredCandidates:
    """Return all *candidates* in the order of the slate. Deterministic: equal inputs give equal bytes."""
    return apply_rerankers(pipeline.rerankers, query, apply_scorers(pipeline, query, candidates, trace), trace)


class SourceResult(NamedTuple):
    """The result of one source."""

    post_ids: Int64Array | None
    """None if the source failed."""
    seconds: float
    ended_at: float
    """By `time.perf_counter`."""


def run_source(source: Source, query: Query, eligible: BoolArray) -> SourceResult:
    """Run one source. Any error is logged and costs only the candidates of the source."""
    start = perf_counter()
    post_ids = None
    try:
        post_ids = validate_post_ids(source(query, eligible))
    except Exception:
        log.exception("source_failed", extra={"component": source_name(source), "request_id": str(query.request_id)})
    end = perf_counter()
    return SourceResult(post_ids, end - start, end)


def validate_post_ids(post_ids: Int64Array) -> Int64Array:
    """Return the result of a source as int64. Raises `TypeError` if it is not an integer array (n,)."""
    if not isinstance(post_ids, np.ndarray) or post_ids.ndim != 1 or post_ids.dtype.kind not in "iu":
        raise TypeError(f"A source must return an array (n,) of post ids, not {post_ids!r}.")
    return post_ids.astype(np.int64, copy=False)


def source_name(source: Source) -> str:
    """Return the name of a source in metrics."""
    return source.origin.name.lower()


def run_sources(sources: Sequence[Source], query: Query, eligible: BoolArray) -> list[SourceResult]:
    """
    Return the result of each source, in the order of *sources*.

    Two threads share the work. The nearest scan spends its time in the kernel, which does not hold the GIL. So this
    thread runs the scan while a pool thread runs the other sources, which are Python and NumPy; further threads would
    wait for the GIL. The pool thread runs in a copy of this thread's context, so that context variables, such as the
    pinned embedding models and the request id of log lines, have the same values in both.
    """

    def run_all(sources: Sequence[Source]) -> list[SourceResult]:
        return [run_source(source, query, eligible) for source in sources]

    gil_free = [source for source in sources if source.origin in GIL_FREE_ORIGINS]
    others = [source for source in sources if source.origin not in GIL_FREE_ORIGINS]
    if not gil_free or not others:
        return run_all(sources)
    pending = source_threads().submit(copy_context().run, run_all, others)
    gil_free_results, other_results = iter(run_all(gil_free)), iter(pending.result())
    return [next(gil_free_results if source.origin in GIL_FREE_ORIGINS else other_results) for source in sources]


def collect_candidates(sources: Sequence[Source], query: Query, eligible: BoolArray, trace: Trace) -> Candidates:
    """Return the posts of all sources, each post once, with a bit for every source that returned it."""
    ids: list[Int64Array] = [EMPTY_IDS]
    bits, counts = [0], [0]
    for source, (post_ids, seconds, ended_at) in zip(sources, run_sources(sources, query, eligible), strict=True):
        count = 0 if post_ids is None else len(post_ids)
        trace.add_timing("source", source_name(source), seconds, count, failed=post_ids is None, ended_at=ended_at)
        if post_ids is not None:
            ids.append(post_ids)
            bits.append(1 << source.origin)
            counts.append(count)
    all_ids = np.concatenate(ids)
    if not len(all_ids):
        return Candidates.unknown(EMPTY_IDS, np.zeros(0, np.uint16))
    order = np.argsort(all_ids, kind="stable")
    all_ids, origins = all_ids[order], np.repeat(np.array(bits, np.uint16), counts)[order]
    first = np.flatnonzero(np.concatenate([[True], all_ids[1:] != all_ids[:-1]]))
    return Candidates.unknown(all_ids[first], np.bitwise_or.reduceat(origins, first))


def apply_hydrators(hydrators: Sequence[Hydrator], query: Query, candidates: Candidates, trace: Trace) -> Candidates:
    """Return the candidates with the facts of the hydrators. A hydrator that fails leaves them unchanged."""
    for hydrator in hydrators:
        start, failed = perf_counter(), False
        try:
            candidates = validate_hydrated(candidates, hydrator(query, candidates))
        except Exception:
            log.exception("hydrator_failed", extra={"component": hydrator.name, "request_id": str(query.request_id)})
            failed = True
        trace.add_timing("hydrate", hydrator.name, perf_counter() - start, len(candidates), failed=failed)
    return candidates


def validate_hydrated(before: Candidates, after: Candidates) -> Candidates:
    """Return the candidates *after* a hydrator. Raises `ValueError` if a column has another shape, type or identity."""
    if after is before:
        return after
    for name in CANDIDATE_COLUMNS:
        expected, column = getattr(before, name), getattr(after, name)
        has_same_type = (column.shape, column.dtype) == (expected.shape, expected.dtype)
        if not has_same_type or (name in IDENTITY and not np.array_equal(column, expected)):
            raise ValueError(
                f"{name}: a hydrator must return {expected.dtype} {expected.shape} for the same posts, "
                f"not {column.dtype} {column.shape}."
            )
    return after


def apply_filters(
    filters: Sequence[Filter], query: Query, candidates: Candidates, trace: Trace, *, stage: str
) -> BoolArray:
    """Return a mask (n,) of the candidates that pass every filter. Raises `FilterError` if a filter fails."""
    mask, before = np.ones(len(candidates), np.bool_), len(candidates)
    for check in filters:
        start, name = perf_counter(), check.name
        try:
            mask &= run_filter(check, query, candidates)
        except Exception as error:
            trace.add_timing(stage, name, perf_counter() - start, 0, failed=True)
            raise FilterError(f"Filter {name} failed, so the slate is not shown.") from error
        remaining = int(np.count_nonzero(mask))
        trace.add_timing(stage, name, perf_counter() - start, remaining, dropped=before - remaining)
        before = remaining
    return mask


def run_filter(check: Filter, query: Query, candidates: Candidates) -> BoolArray:
    """Return the mask (n,) of one filter. Raises `TypeError` for another shape: NumPy would broadcast a single True."""
    mask = check(query, candidates)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (len(candidates),):
        raise TypeError(f"A filter must return a mask of {len(candidates)} candidates, not {mask!r}.")
    return mask


def apply_scorers(pipeline: Pipeline, query: Query, candidates: Candidates, trace: Trace) -> ScoredCandidates:
    """Return the candidates by descending score; ties go to the lower post id."""
    start = perf_counter()
    columns = compute_parts(pipeline.scorers, query, candidates, trace)
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


def compute_parts(scorers: Sequence[Scorer], query: Query, candidates: Candidates, trace: Trace) -> Float32Array:
    """Return the unweighted part of each scorer, as the columns of an array (n, s). A scorer that fails gives zeros."""
    parts = np.zeros((len(scorers), len(candidates)), np.float32)
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinity, which is out of range
        for scorer, part in zip(scorers, parts, strict=True):
            score_part(scorer, query, candidates, part, trace)
    if not is_in_range(parts):  # all at once: one part takes as long as all of them
        for scorer, part in zip(scorers, parts, strict=True):
            if not is_in_range(part):
                part[:] = 0
                log.error("scorer_failed", extra={"component": scorer.name, "request_id": str(query.request_id)})
                trace.add_timing("score", scorer.name, 0.0, len(candidates), failed=True)
    return parts.T


def score_part(scorer: Scorer, query: Query, candidates: Candidates, part: Float32Array, trace: Trace) -> None:
    """Write a scorer's part into *part* (n,), which holds zeros. If the scorer fails, they stay."""
    start = perf_counter()
    try:
        if not hasattr(query.policy, scorer.name):
            raise LookupError(f"Policy has no weight for the scorer {scorer.name}.")
        part[:] = validate_part(scorer(query, candidates), len(candidates))
    except Exception:
        log.exception("scorer_failed", extra={"component": scorer.name, "request_id": str(query.request_id)})
        trace.add_timing("score", scorer.name, perf_counter() - start, len(candidates), failed=True)


def validate_part(part: Float32Array, n: int) -> Float32Array:
    """Return a scorer's part. Raises `TypeError` if it is not *n* numbers."""
    if not isinstance(part, np.ndarray) or part.shape != (n,) or part.dtype.kind not in "fiub":
        raise TypeError(f"A scorer must return a column of {n} numbers, not {part!r}.")
    return part


def is_in_range(parts: Float32Array) -> bool:
    """Return whether all *parts* are from -`LARGEST_PART` to `LARGEST_PART`, and so none is NaN."""
    return bool(parts.min(initial=0) >= -LARGEST_PART and parts.max(initial=0) <= LARGEST_PART)


def policy_weights(query: Query, names: Sequence[str]) -> Float32Array:
    """Return the policy's weights (n,) of the score parts *names*; 0 for a part without a weight."""
    return np.array([getattr(query.policy, name, 0.0) for name in names], np.float32)


def apply_rerankers(
    rerankers: Sequence[Reranker], query: Query, scored: ScoredCandidates, trace: Trace
) -> ScoredCandidates:
    """Return *scored* in the order of the rerankers. A reranker that fails leaves the order unchanged."""
    for reranker in rerankers:
        start = perf_counter()
        try:
            scored = reorder(scored, reranker(query, scored))
        except Exception:
            log.exception("reranker_failed", extra={"component": reranker.name, "request_id": str(query.request_id)})
            trace.add_timing("rerank", reranker.name, perf_counter() - start, len(scored.scores), failed=True)
            continue
        trace.add_timing("rerank", reranker.name, perf_counter() - start, len(scored.scores))
    return scored


def reorder(scored: ScoredCandidates, order: Int64Array) -> ScoredCandidates:
    """Return *scored* in this *order*. Raises `TypeError` or `ValueError` if it is not a permutation."""
    n = len(scored.scores)
    if not isinstance(order, np.ndarray) or order.shape != (n,) or order.dtype.kind not in "iu":
        raise TypeError(f"A reranker must return {n} positions, not {order!r}.")
    if np.array_equal(order, np.arange(n)):
        return scored
    is_placed = np.zeros(n, np.bool_)
    if order.min() >= 0 and order.max() < n:
        is_placed[order] = True
    if not is_placed.all():
        raise ValueError(f"A reranker must return each of {n} positions once, not {order!r}.")
    return scored.take(order)
