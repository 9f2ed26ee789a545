"""Ranks a served request again from its stored inputs, and tells whether the result is the same to the byte."""

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
    """A slate that was ranked again."""

    request_id: UUID
    engine: str
    post_ids: Int64Array  # (n,)
    is_identical: bool
    """Whether the order and the parts of every score are the recorded bytes."""


def replay(*, request_id: UUID) -> ReplayResult:
    """Rank a served request again, and say whether the same came of it. Raises `InputsNotKept` with the reason."""
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
    Return whether every part of every score is the recorded one, to the byte.

    A part that another release added or took away is the same if it is 0: then it changes no score.
    """
    recorded = np.frombuffer(bytes(row.parts), "<f4")
    if recorded.size != len(scored.scores) * len(row.part_names):
        return False
    recorded = recorded.reshape(len(scored.scores), len(row.part_names))
    before = dict(zip(row.part_names, recorded.T, strict=True))
    after = dict(zip(scored.part_names, scored.parts.astype("<f4").T, strict=True))
    is_same = all(before[name].tobytes() == after[name].tobytes() for name in before.keys() & after.keys())
    alone = [parts[name] for parts in (before, after) for name in parts.keys() & (before.keys() ^ after.keys())]
    return is_same and not any(column.any() for column in alone)


def rank_again(row: FeedRequest) -> ScoredCandidates:
    """Return all the candidates of *row* in their order: its slate, and what stood behind it."""
    kept = FeedInputs.objects.filter(pk=row.pk).values_list("packed_inputs", flat=True).first()
    if kept is None:
        raise InputsUnavailable(row.pk, "they were never kept, or their time is over")
    query, candidates, model = unpack_inputs(row.pk, zlib.decompress(bytes(kept)))
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
    """Give *engine* the posts' vectors; refuse if one is missing, or is not what it was."""
    found: Mapping[int, tuple[bytes, datetime]] = {
        post_id: (bytes(vector), changed_at)
        for post_id, vector, changed_at in PostEmbedding.objects.filter(
            post_id__in=post_ids.tolist(), space=CONTENT_SPACE, embedding_model=model, dimension=engine.dimension
        ).values_list("post_id", "vector", "changed_at")
    }
    if any(changed_at > row.created_at for _, changed_at in found.values()):
        raise InputsUnavailable(row.pk, "a post has another vector by now")
    # Whether it had none at that time either cannot be told.
    if len(found) < len(post_ids):
        raise InputsUnavailable(row.pk, "a post has no vector now")
    packed = b"".join(found[post_id][0] for post_id in post_ids.tolist())
    vectors = np.frombuffer(packed, "<f4").reshape(-1, engine.dimension)
    usable = np.isfinite(vectors).all(axis=1)
    engine.put(rows[usable], post_ids[usable], np.ascontiguousarray(vectors[usable]))
