"""
The inputs of a slate, packed into bytes: enough to rank it again and get the same bytes.

Packed are the query's side (policy, interests, affinities, fatigue, follows) and every column of the candidates. The
vectors are the posts' own: as long as they are unchanged, the same engine gives the same order and the same parts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommendations.contracts import Affinity, Candidates, Interests, Policy, Query
from recommendations.services import wiring
from recommendations.services.errors import InputsNotKept

VERSION = 1
PLAIN = ("viewer_id", "feed", "size", "now", "variant", "policy_version", "region_id")
ARRAYS = ("followed_author_ids",)
AFFINITIES = ("author_affinity", "topic_affinity", "format_affinity", "served")
KEEP = timedelta(days=7)
"""How long inputs are kept. Changes which requests can be replayed."""


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
