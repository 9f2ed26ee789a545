"""
The inputs of a slate, packed into bytes: enough to rank it again and get the same bytes.

Packed are the query's side (policy, interests, affinities, fatigue, follows) and every column of the candidates. The
vectors are the posts' own: as long as they are unchanged, the same engine gives the same order and the same parts.

Later releases read the inputs, too. A column or field that was not packed gets the value for unknown facts: that of
`Candidates.unknown`, `Interests.empty` or `Policy.from_stored`, or the field's default in `Query` or `Affinity`. A
field that no longer exists is ignored. So inputs of an earlier release rank as before, unless ranking has changed.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommendations.contracts import CANDIDATE_COLUMNS, Affinity, Candidates, Interests, Policy, Query
from recommendations.services import wiring
from recommendations.services.errors import InputsUnavailable

INPUTS_VERSION = 1
UNPACKED_FIELDS = frozenset(
    {
        "request_id",
        "policy",
        "interests",
        "excluded_post_ids",
        "max_sensitivity",
        "language_ids",
        "blocked_author_ids",
        "muted_author_ids",
        "muted_tag_ids",
        "muted_words",
        "seen_post_ids",
        "hidden_post_ids",
        "feed_filter",
        "is_personalized",
        "reaction_parts",
    }
)
"""
Fields of `Query` that are packed separately, or that only sources and filters read. Ranking starts after both, so the
blocked members and seen posts are not stored. Every other field is packed, including fields that are added later.
"""
POST_AFFINITIES = frozenset({"post_fatigue", "item_weights", "co_liked", "liked_next"})
"""Fields of `Query` that are affinities by post id. Only those of the candidates are packed."""
INPUTS_RETENTION = timedelta(days=7)
"""How long inputs are stored. Changes which requests can be replayed."""


def has_stored_inputs(request_id: UUID) -> bool:
    """Return whether the inputs of this request are stored. The id selects a fixed share of all requests."""
    return request_id.int % 10_000 < settings.ENV.replay_share * 10_000


def pack_inputs(query: Query, candidates: Candidates) -> bytes:
    """
    Return what ranking starts from, in bytes: a line of JSON that names the columns, then the columns.

    Raises `TypeError` for a field of `Query` that is not an array, an `Affinity`, a number or text.
    """
    columns: dict[str, NDArray[Any]] = {f"c.{name}": getattr(candidates, name) for name in CANDIDATE_COLUMNS}
    columns |= {f"i.{f.name}": getattr(query.interests, f.name) for f in fields(Interests)}
    plain: dict[str, Any] = {}
    for name in (f.name for f in fields(Query) if f.name not in UNPACKED_FIELDS):
        value = getattr(query, name)
        if isinstance(value, np.ndarray):
            columns[f"q.{name}"] = value
        elif isinstance(value, Affinity):
            used = value.restrict_to(candidates.post_ids) if name in POST_AFFINITIES else value
            columns |= {f"a.{name}.{f.name}": getattr(used, f.name) for f in fields(Affinity)}
        elif isinstance(value, int | float | str):
            plain[name] = value
        else:
            raise TypeError(
                f"Query.{name}: {type(value).__name__} cannot be packed. Pack it here, or add it to UNPACKED_FIELDS."
            )
    head = {
        "version": INPUTS_VERSION,
        "model": wiring.embedder().name,
        "policy": asdict(query.policy),
        "query": plain,
        "columns": [(name, column.dtype.str, column.shape) for name, column in columns.items()],
    }
    return json.dumps(head).encode() + b"\n" + b"".join(np.ascontiguousarray(c).tobytes() for c in columns.values())


def unpack_inputs(request_id: UUID, packed: bytes) -> tuple[Query, Candidates, str]:
    """Return the query, the candidates, and the name of the embedding model whose vectors were used."""
    line, _, body = packed.partition(b"\n")
    head = json.loads(line)
    if head["version"] != INPUTS_VERSION:
        raise InputsUnavailable(request_id, "they were stored by an incompatible release")
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape in head["columns"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        columns[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape)
        at += size
    query = unpack_query(request_id, head, columns)
    return query, unpack_candidates(columns), head["model"]


def unpack_query(request_id: UUID, head: dict[str, Any], columns: dict[str, NDArray[Any]]) -> Query:
    """
    Return the query; a field that was not packed has its default.

    Raises `InputsUnavailable` if a field of `Query` has no default: ranking now needs a fact that was not stored.
    """
    values = head["query"] | columns_with_prefix("q.", columns)
    for name in {name.split(".")[1] for name in columns if name.startswith("a.")}:
        values[name] = Affinity(**select_fields(Affinity, columns_with_prefix(f"a.{name}.", columns)))
    values = select_fields(Query, values)
    values |= {
        "request_id": request_id,
        "policy": Policy.from_stored(head["policy"]),
        "interests": replace(
            Interests.empty(columns["i.positive"].shape[1]),
            **select_fields(Interests, columns_with_prefix("i.", columns)),
        ),
    }
    missing = [f.name for f in fields(Query) if f.name not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise InputsUnavailable(request_id, f"ranking needs fields that were not stored: {', '.join(missing)}")
    return Query(**values)


def unpack_candidates(columns: dict[str, NDArray[Any]]) -> Candidates:
    """
    Return the candidates; a column that was not packed is unknown.

    An earlier release packed a sum of recent interactions instead of the popularity, and its score part was this
    logarithm of the sum.
    """
    stored = columns_with_prefix("c.", columns)
    if "engagement" in stored:
        logarithm = np.log1p(stored["engagement"]) / np.log1p(1000.0)
        stored["popularity"] = np.minimum(logarithm, 1.0).astype(np.float32)
    return replace(Candidates.unknown(stored["post_ids"], stored["origins"]), **select_fields(Candidates, stored))


def columns_with_prefix(prefix: str, columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the *columns* whose names start with *prefix*, without it."""
    return {name.removeprefix(prefix): column for name, column in columns.items() if name.startswith(prefix)}


def select_fields(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return those of *values* that are fields of the dataclass *kind*."""
    return {f.name: values[f.name] for f in fields(kind) if f.name in values}
