"""
The candidates of test cases with their score parts, captured from the pipeline that serves.

Ranking them again with other weights takes microseconds, where building a page takes milliseconds, so a search can try
hundreds of policies. Sources and filters do not run again: the candidates stay those of the policy that captured them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import (
    Candidates,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    Interests,
    Policy,
    Query,
    ScoredCandidates,
    UInt16Array,
)
from recommendations.engines.plain import PlainEngine
from recommendations.evaluation.folds import Fold
from recommendations.evaluation.weights import PartCases
from recommendations.feeds import discovery_rerankers
from recommendations.pipeline.run import apply_rerankers
from recommendations.pipeline.stages import Trace
from recommendations.ports import Engine


@dataclass(frozen=True)
class Capture:
    """The candidates of n cases, one case after the other, c in all, in the order of their ids within a case."""

    part_names: NDArray[np.str_]  # (p,)
    starts: Int64Array  # (n + 1,)
    post_ids: Int64Array  # (c,) on the scratch platform
    parts: Float32Array  # (c, p) before their weights
    author_ids: Int64Array  # (c,)
    topic_ids: Int32Array  # (c,)
    origins: UInt16Array  # (c,)
    slate_size: Int64Array  # () posts that the rerankers order
    vector_ids: Int64Array  # (v,) the different *post_ids*, sorted
    vectors: Float32Array  # (v, d)
    keys: NDArray[np.str_]  # (v,) the platform's id of each

    @classmethod
    def from_cases(
        cls, cases: Sequence[ScoredCandidates], *, engine: Engine, keys: Mapping[int, str], slate_size: int
    ) -> Capture:
        """Return the capture of at least one of *cases*. *engine* scored them; *keys* are the ids by post id."""
        ordered = [case.take(np.argsort(case.candidates.post_ids)) for case in cases]
        post_ids = np.concatenate([case.candidates.post_ids for case in ordered])
        vector_ids, first = np.unique(post_ids, return_index=True)
        return cls(
            part_names=np.array(ordered[0].part_names),
            starts=np.concatenate([[0], np.cumsum([len(case.scores) for case in ordered])]),
            post_ids=post_ids,
            parts=np.concatenate([case.parts for case in ordered]),
            author_ids=np.concatenate([case.candidates.author_ids for case in ordered]),
            topic_ids=np.concatenate([case.candidates.topic_ids for case in ordered]),
            origins=np.concatenate([case.candidates.origins for case in ordered]),
            slate_size=np.array(slate_size),
            vector_ids=vector_ids,
            vectors=engine.vectors(np.concatenate([case.candidates.rows for case in ordered])[first]),
            keys=np.array([keys[id] for id in vector_ids.tolist()]),
        )

    @classmethod
    def load(cls, file: Path) -> Capture:
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def save(self, file: Path) -> None:
        """Write the arrays to *file*."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(file, **arrays)


@dataclass(frozen=True)
class CapturedFold:
    """The capture of all n cases of a fold."""

    fold: Fold
    capture: Capture
    posts: Int32Array  # (v,) the post index of each of `capture.vector_ids`

    def rows_of(self, case: int) -> slice:
        """Return where the candidates of a case are."""
        return slice(int(self.capture.starts[case]), int(self.capture.starts[case + 1]))

    @cached_property
    def candidate_posts(self) -> Int32Array:
        """The post index of each candidate (c,)."""
        return self.posts[np.searchsorted(self.capture.vector_ids, self.capture.post_ids)]

    def select_cases(self, cases: Int64Array) -> PartCases:
        """Return the candidates of these *cases* (k,) for a search, with their targets."""
        rows = [np.arange(self.rows_of(case).start, self.rows_of(case).stop) for case in cases.tolist()]
        targets = self.fold.targets.take(cases)
        is_target = [np.isin(self.candidate_posts[row], posts) for row, posts in zip(rows, targets, strict=True)]
        every = np.concatenate([np.zeros(0, np.int64), *rows])
        return PartCases(
            starts=np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]),
            parts=self.capture.parts[every],
            is_target=np.concatenate([np.zeros(0, np.bool_), *is_target]),
            target_counts=targets.lengths,
        )

    @cached_property
    def engine(self) -> PlainEngine:
        """An engine with the vectors of all candidates; its rows are positions in `capture.vector_ids`."""
        engine = PlainEngine(self.capture.vectors.shape[1])
        rows = np.arange(len(self.capture.vector_ids), dtype=np.int32)
        engine.put(rows, self.capture.vector_ids, self.capture.vectors)
        return engine

    def rank(self, policy: Policy, cases: Int64Array, size: int) -> Int32Array:
        """Return the lists (k, size) of these *cases* (k,) with *policy*, reranked as the feed is, as post indexes."""
        weights = weigh(self.capture.part_names, policy).astype(np.float32)
        lists = np.full((len(cases), size), -1, np.int32)
        for ranked, case in zip(lists, cases.tolist(), strict=True):
            rows = self.rows_of(case)
            positions = self._rank_case(policy, weights, rows)[:size]
            ranked[: len(positions)] = self.candidate_posts[rows][positions]
        return lists

    def _rank_case(self, policy: Policy, weights: Float32Array, rows: slice) -> Int64Array:
        """Return the candidates in *rows*, by position, in the order of the slate."""
        capture = self.capture
        ids, parts = capture.post_ids[rows], capture.parts[rows] * weights
        tags = Candidates.unknown(ids, capture.origins[rows]).tag_ids
        tags[:, 0] = capture.topic_ids[rows]
        candidates = replace(
            Candidates.unknown(ids, capture.origins[rows]),
            rows=np.searchsorted(capture.vector_ids, ids).astype(np.int32),
            author_ids=capture.author_ids[rows],
            tag_ids=tags,
        )
        scores = parts.sum(axis=1)
        scored = ScoredCandidates(candidates, scores, tuple(capture.part_names.tolist()), parts)
        scored = scored.take(np.lexsort((ids, -scores)))
        query = build_rerank_query(policy, int(capture.slate_size))
        slate = apply_rerankers(discovery_rerankers(self.engine), query, scored, Trace())
        return np.searchsorted(ids, slate.candidates.post_ids)


def weigh(part_names: NDArray[np.str_], policy: Policy) -> Float64Array:
    """Return the policy's weight (p,) of each part."""
    return np.array([getattr(policy, name) for name in part_names.tolist()], np.float64)


def build_rerank_query(policy: Policy, size: int) -> Query:
    """Return a query with all that the rerankers read."""
    return Query(UUID(int=0), 0, "discovery", size, 0.0, policy, "", 0, Interests.empty(1))
