"""
The inputs of a slate, packed into bytes: enough to rank it again with a byte-identical result.

They hold the query (policy, interests, affinities, fatigue, follows) and every column of the candidates. They hold no
vectors: those are read from the posts. While the posts' vectors are unchanged, the same engine gives the same order and
the same score parts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommendations.contracts import Affinity, Candidates, Interests, Policy, Query
from recommendations.models import FeedInputs
from recommendations.services import wiring
from recommendations.services.errors import InputsNotKept

INPUTS_VERSION = 1
SCALAR_FIELDS = ("viewer_id", "feed", "size", "now", "variant", "policy_version", "region_id")
ARRAY_FIELDS = ("followed_author_ids",)
AFFINITY_FIELDS = ("author_affinity", "topic_affinity", "format_affinity", "served")
INPUTS_RETENTION = timedelta(days=7)
"""How long inputs are stored. Changes which requests can be replayed."""


def has_stored_inputs(request_id: UUID) -> bool:
    """Return whether the inputs of this request are stored: REPLAY_SHARE of all requests, chosen by their id."""
    return request_id.int % 10_000 < settings.ENV.replay_share * 10_000


def pack_inputs(query: Query, candidates: Candidates) -> bytes:
    """Return the inputs of ranking as bytes: a line of JSON that names the columns, then the columns."""
    columns: dict[str, NDArray[Any]] = {f"c.{f.name}": getattr(candidates, f.name) for f in fields(Candidates)}
    columns |= {f"i.{f.name}": getattr(query.interests, f.name) for f in fields(Interests)}
    columns |= {f"q.{name}": getattr(query, name) for name in ARRAY_FIELDS}
    for name in AFFINITY_FIELDS:
        affinity: Affinity = getattr(query, name)
        columns |= {f"a.{name}.ids": affinity.ids, f"a.{name}.weights": affinity.weights}
    head = {
        "version": INPUTS_VERSION,
        "model": wiring.embedder().name,
        "policy": asdict(query.policy),
        "query": {name: getattr(query, name) for name in SCALAR_FIELDS},
        "columns": [(name, column.dtype.str, column.shape) for name, column in columns.items()],
    }
    return json.dumps(head).encode() + b"\n" + b"".join(np.ascontiguousarray(c).tobytes() for c in columns.values())


def unpack_inputs(request_id: UUID, packed: bytes) -> tuple[Query, Candidates, str]:
    """
    Return the query, the candidates, and the name of the embedding model whose vectors were used.

    Raises `InputsNotKept` if another version of this software packed them.
    """
    line, _, body = packed.partition(b"\n")
    head = json.loads(line)
    if head["version"] != INPUTS_VERSION:
        raise InputsNotKept(request_id, "they were kept by another version of this software")
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape in head["columns"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        columns[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape)
        at += size
    values: dict[str, Any] = {name: columns[f"q.{name}"] for name in ARRAY_FIELDS} | head["query"]
    values |= {name: Affinity(columns[f"a.{name}.ids"], columns[f"a.{name}.weights"]) for name in AFFINITY_FIELDS}
    interests = Interests(**{f.name: columns[f"i.{f.name}"] for f in fields(Interests)})
    query = Query(request_id=request_id, policy=Policy.of(head["policy"]), interests=interests, **values)
    candidates = Candidates(**{f.name: columns[f"c.{f.name}"] for f in fields(Candidates)})
    return query, candidates, head["model"]


def delete_expired_inputs(*, now: datetime) -> int:
    """Delete the inputs that are older than `INPUTS_RETENTION`, and return how many there were."""
    return FeedInputs.objects.filter(created_at__lt=now - INPUTS_RETENTION).delete()[0]
