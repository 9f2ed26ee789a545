"""
What a slate was ranked from, kept for some requests, so that it can be ranked again to the same bytes.

Kept are the query's side (policy, interests, affinities, fatigue, follows) and every column of the candidates. The
vectors are the posts' own: while they are what they were, the same engine gives the same order and the same parts.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommendations.contracts import Affinity, Candidates, Int64Array, Interests, Policy, Query, Scored
from recommendations.models import FeedInputs, FeedRequest, PostEmbedding
from recommendations.pipeline.run import ranked
from recommendations.pipeline.stages import Trace
from recommendations.ports import Engine
from recommendations.services import wiring
from recommendations.services.embedding import SPACE
from recommendations.services.errors import InputsNotKept, UnknownRequest

VERSION = 1
PLAIN = ("viewer_id", "feed", "size", "now", "variant", "policy_version", "region_id")
ARRAYS = ("followed_author_ids",)
AFFINITIES = ("author_affinity", "topic_affinity", "format_affinity", "served")
KEEP = timedelta(days=7)
"""How long inputs are kept. Changes which requests can be replayed."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A slate that was ranked again."""

    request_id: UUID
    engine: str
    post_ids: Int64Array  # (n,)
    is_same: bool
    """Whether the order and the parts of every score are the recorded bytes."""


def is_kept(request_id: UUID) -> bool:
    """Return whether the inputs of this request are kept: a share of all, chosen by the id."""
    return request_id.int % 10_000 < settings.ENV.replay_share * 10_000


def pack_inputs(query: Query, candidates: Candidates) -> bytes:
    """Return what ranking starts from, in bytes: a line of JSON that names the columns, then the columns."""
    columns: dict[str, NDArray[Any]] = {f"c.{f.name}": getattr(candidates, f.name) for f in fields(Candidates)}
    columns |= {f"i.{f.name}": getattr(query.interests, f.name) for f in fields(Interests)}
    columns |= {f"q.{name}": getattr(query, name) for name in ARRAYS}
    for name in AFFINITIES:
        affinity: Affinity = getattr(query, name)
        columns |= {f"a.{name}.ids": affinity.ids, f"a.{name}.weights": affinity.weights}
    head = {
        "version": VERSION,
        "model": wiring.embedder().name,
        "policy": asdict(query.policy),
        "query": {name: getattr(query, name) for name in PLAIN},
        "columns": [(name, column.dtype.str, column.shape) for name, column in columns.items()],
    }
    return json.dumps(head).encode() + b"\n" + b"".join(np.ascontiguousarray(c).tobytes() for c in columns.values())


def unpack_inputs(request_id: UUID, packed: bytes) -> tuple[Query, Candidates, str]:
    """Return the query, the candidates, and the model of the vectors that were used."""
    line, _, body = packed.partition(b"\n")
    head = json.loads(line)
    if head["version"] != VERSION:
        raise InputsNotKept(request_id, "they were kept by another version of this software")
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape in head["columns"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        columns[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape)
        at += size
    values: dict[str, Any] = {name: columns[f"q.{name}"] for name in ARRAYS} | head["query"]
    values |= {name: Affinity(columns[f"a.{name}.ids"], columns[f"a.{name}.weights"]) for name in AFFINITIES}
    interests = Interests(**{f.name: columns[f"i.{f.name}"] for f in fields(Interests)})
    query = Query(request_id=request_id, policy=Policy.of(head["policy"]), interests=interests, **values)
    candidates = Candidates(**{f.name: columns[f"c.{f.name}"] for f in fields(Candidates)})
    return query, candidates, head["model"]


def replay(*, request_id: UUID) -> Replay:
    """Rank a served request again, and say whether the same came of it. Raises `InputsNotKept` with the reason."""
    row = FeedRequest.objects.filter(pk=request_id).first()
    if row is None:
        raise UnknownRequest(request_id)
    scored = ranked_again(row)
    scored = scored.take(np.arange(len(bytes(row.post_ids)) // 8))
    same = (scored.candidates.post_ids.astype("<i8").tobytes(), scored.parts.astype("<f4").tobytes())
    return Replay(
        request_id=request_id,
        engine=row.engine,
        post_ids=scored.candidates.post_ids,
        is_same=same == (bytes(row.post_ids), bytes(row.parts)),
    )


def ranked_again(row: FeedRequest) -> Scored:
    """Return all the candidates of *row* in their order: its slate, and what stood behind it."""
    kept = FeedInputs.objects.filter(pk=row.pk).values_list("packed", flat=True).first()
    if kept is None:
        raise InputsNotKept(row.pk, "they were never kept, or their time is over")
    query, candidates, model = unpack_inputs(row.pk, zlib.decompress(bytes(kept)))
    feed = "trending" if row.fallback == "trending" else row.feed
    pipeline = wiring.feed_pipeline(feed, row.engine if row.engine != "none" else "plain")
    if pipeline.engine is None:
        return ranked(pipeline, query, candidates, Trace())
    rows = np.arange(len(candidates), dtype=np.int32)
    engine = wiring.new_engine(row.engine)
    has_vector = candidates.rows >= 0
    put_vectors(engine, candidates.post_ids, rows, model, row.created_at)
    again = replace(candidates, rows=np.where(has_vector, rows, np.int32(-1)))
    return ranked(wiring.feed_pipeline(feed, row.engine, engine), query, again, Trace())


def put_vectors(engine: Engine, post_ids: Int64Array, rows: NDArray[np.int32], model: str, served_at: datetime) -> None:
    """Give *engine* the posts' vectors; refuse if one is not what it was."""
    found: Mapping[int, tuple[bytes, datetime]] = {
        post_id: (bytes(vector), changed_at)
        for post_id, vector, changed_at in PostEmbedding.objects.filter(
            post_id__in=post_ids.tolist(), space=SPACE, model=model, dimension=engine.dimension
        ).values_list("post_id", "vector", "changed_at")
    }
    if any(changed_at > served_at for _, changed_at in found.values()):
        raise InputsNotKept(UUID(int=0), "a post has another vector by now")
    at = np.array([i for i, post_id in enumerate(post_ids.tolist()) if post_id in found], np.int64)
    vectors = np.frombuffer(b"".join(found[int(post_ids[i])][0] for i in at), "<f4").reshape(-1, engine.dimension)
    usable = np.isfinite(vectors).all(axis=1)
    engine.put(rows[at][usable], post_ids[at][usable], np.ascontiguousarray(vectors[usable]))


def sweep_inputs(*, now: datetime) -> int:
    """Delete inputs whose time is over, and return how many."""
    return FeedInputs.objects.filter(created_at__lt=now - KEEP).delete()[0]
