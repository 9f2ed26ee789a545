"""Ranks a served request again from its stored inputs, and compares the result with the record byte by byte."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import Int64Array, ScoredCandidates
from recommendations.models import FeedInputs, FeedRequest, PostEmbedding
from recommendations.pipeline.run import rank_candidates
from recommendations.pipeline.stages import Trace
from recommendations.ports import Engine
from recommendations.services import wiring
from recommendations.services.errors import InputsUnavailable, UnknownRequest
from recommendations.services.serving.inputs import unpack_inputs
from recommendations.services.vectors.embedding import CONTENT_SPACE


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A slate that was ranked again, and whether it equals the recorded slate."""

    request_id: UUID
    engine: str
    post_ids: Int64Array  # (n,)
    is_identical: bool
    """Whether the order of the posts and the parts of every score equal the recorded bytes."""


def replay(*, request_id: UUID) -> ReplayResult:
    """Rank a served request again. Raises `UnknownRequest`, and `InputsUnavailable` with the reason."""
    row = FeedRequest.objects.filter(pk=request_id).first()
    if row is None:
        raise UnknownRequest(request_id)
    scored = rank_again(row)
    scored = scored.take(np.arange(len(bytes(row.post_ids)) // 8))
    is_same_order = scored.candidates.post_ids.astype("<i8").tobytes() == bytes(row.post_ids)
    return ReplayResult(
        request_id=request_id,
        engine=row.engine,
        post_ids=scored.candidates.post_ids,
        is_identical=is_same_order and has_same_parts(scored, row),
    )


def has_same_parts(scored: ScoredCandidates, row: FeedRequest) -> bool:
    """
    Return whether every part of every score equals the recorded bytes.

    A part that only one of the two releases has must be 0 for every post: then it changes no score.
    """
    recorded = np.frombuffer(bytes(row.parts), "<f4")
    if recorded.size != len(scored.scores) * len(row.part_names):
        return False
    recorded = recorded.reshape(len(scored.scores), len(row.part_names))
    recorded_columns = dict(zip(row.part_names, recorded.T, strict=True))
    new_columns = dict(zip(scored.part_names, scored.parts.astype("<f4").T, strict=True))
    is_same = all(
        recorded_columns[name].tobytes() == new_columns[name].tobytes()
        for name in recorded_columns.keys() & new_columns.keys()
    )
    unmatched = [
        parts[name]
        for parts in (recorded_columns, new_columns)
        for name in parts.keys() & (recorded_columns.keys() ^ new_columns.keys())
    ]
    return is_same and not any(column.any() for column in unmatched)


def rank_again(row: FeedRequest) -> ScoredCandidates:
    """
    Return all candidates of a request in their order: the slate, then the candidates behind it.

    They are ranked by a new engine that holds only the recorded candidates' vectors: the resident catalogue has changed
    since. Raises `InputsUnavailable`.
    """
    packed = FeedInputs.objects.filter(pk=row.pk).values_list("packed_inputs", flat=True).first()
    if packed is None:
        raise InputsUnavailable(row.pk, "its inputs were not stored, or have expired")
    query, candidates, model = unpack_inputs(row.pk, zlib.decompress(bytes(packed)))
    feed = "trending" if row.fallback == "trending" else row.feed
    pipeline = wiring.feed_pipeline(feed, row.engine if row.engine != "none" else "plain")
    if pipeline.engine is None:
        return rank_candidates(pipeline, query, candidates, Trace())
    rows = np.arange(len(candidates), dtype=np.int32)
    engine = wiring.create_engine(row.engine)
    has_vector = candidates.rows >= 0
    load_recorded_vectors(engine, row, candidates.post_ids, rows, model)
    again = replace(candidates, rows=np.where(has_vector, rows, np.int32(-1)))
    return rank_candidates(wiring.feed_pipeline(feed, row.engine, engine), query, again, Trace())


def load_recorded_vectors(
    engine: Engine, row: FeedRequest, post_ids: Int64Array, rows: NDArray[np.int32], model: str
) -> None:
    """Put the posts' vectors into *engine*. Raises `InputsUnavailable` if one is missing or newer than the request."""
    stored: Mapping[int, tuple[bytes, datetime]] = {
        post_id: (bytes(vector), changed_at)
        for post_id, vector, changed_at in PostEmbedding.objects.filter(
            post_id__in=post_ids.tolist(), space=CONTENT_SPACE, embedding_model=model, dimension=engine.dimension
        ).values_list("post_id", "vector", "changed_at")
    }
    if any(changed_at > row.created_at for _, changed_at in stored.values()):
        raise InputsUnavailable(row.pk, "the vector of a post has changed since")
    # Whether the post had a vector at the time of the request is not recorded.
    if len(stored) < len(post_ids):
        raise InputsUnavailable(row.pk, "a post has no vector any more")
    joined = b"".join(stored[post_id][0] for post_id in post_ids.tolist())
    vectors = np.frombuffer(joined, "<f4").reshape(-1, engine.dimension)
    usable = np.isfinite(vectors).all(axis=1)
    engine.put(rows[usable], post_ids[usable], np.ascontiguousarray(vectors[usable]))
