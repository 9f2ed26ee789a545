"""
The vectors of posts in Qdrant: one collection per space and model, so that vectors of two models are never compared.

Qdrant holds copies only: ids, vectors, and the facts that its filters use. `manage.py reindex` restores them. While the
server does not respond, or asks for a pause (429), its candidates are missing, and no call is made for a while.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from monitoring.dependencies import dependency
from recommendations.contracts import UNKNOWN, Float32Array, IndexFilter, Int64Array, Visibility
from recommendations.ports import VectorError, VectorIndexError
from recommendations.stores.vocabulary import Vocabularies


def load_lazily(name: str) -> ModuleType:
    """Return the package *name*. It is loaded at its first use."""
    spec = find_spec(name)
    assert spec and spec.loader
    spec.loader = LazyLoader(spec.loader)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import qdrant_client as qdrant
else:
    # The package takes longer to import than all others together, and few deployments use it.
    qdrant = sys.modules.get("qdrant_client") or load_lazily("qdrant_client")

R = TypeVar("R")

RETRIEVE_BATCH = 50
"""Posts per request for vectors. Changes the speed."""
WRITE_BATCH = 500
LIST_BATCH = 10_000
INDEXED_PAYLOAD = {
    "author_id": "integer",
    "visibility": "integer",
    "sensitivity": "integer",
    "language": "keyword",
}


def connect(url: str, api_key: str | None, *, timeout: int) -> qdrant.QdrantClient:
    """
    Return a client of the server at *url*. It connects at its first call; *timeout* is in seconds.

    The client's own check of the server's version would connect here, in every process, and only print a warning.
    `manage.py doctor` checks it instead (`is_version_supported`).
    """
    return qdrant.QdrantClient(url, api_key=api_key, timeout=timeout, check_compatibility=False)


def is_version_supported(server: str) -> bool:
    """Return whether the client supports a server of this version: the same or a neighboring minor version."""
    client = importlib.metadata.version("qdrant-client")
    return bool(qdrant.common.version_check.is_compatible(client, server))  # type: ignore[attr-defined]  # not in __all__


@dataclass(frozen=True, slots=True)
class Point:
    """A post as it is stored in the index."""

    post_id: int
    vector: Float32Array  # (d,)
    version: int
    author_id: int
    visibility: int
    sensitivity: int
    language: str


class QdrantVectors:
    """Implements `VectorIndex` with a Qdrant server, or with the in-process storage of qdrant-client."""

    def __init__(
        self, client: qdrant.QdrantClient, *, space: str, model: str, dimension: int, vocabularies: Vocabularies
    ) -> None:
        self.dimension = dimension
        self.collection = f"recsys-{space}-{re.sub(r'[^A-Za-z0-9]+', '-', model)}"
        self._client = client
        self._vocabularies = vocabularies

    # Read

    def nearest(self, vectors: Float32Array, k: int, index_filter: IndexFilter) -> tuple[Int64Array, Float32Array]:
        """See `VectorIndex.nearest`."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or not np.isfinite(vectors).all():
            raise VectorError(f"Give finite vectors (q, {self.dimension}), not {vectors.shape}.")
        ids = np.full((len(vectors), k), UNKNOWN, np.int64)
        cosines = np.zeros((len(vectors), k), np.float32)
        is_searched = np.flatnonzero(np.any(vectors != 0, axis=1))
        if len(is_searched) and k > 0:
            for q, points in zip(is_searched, self._search(vectors[is_searched], k, index_filter), strict=True):
                nearest = sorted(points, key=lambda point: (-point.score, point.id))[:k]
                ids[q, : len(nearest)] = [int(point.id) for point in nearest]
                cosines[q, : len(nearest)] = [point.score for point in nearest]
        return ids, cosines

    def vectors(self, post_ids: Sequence[int]) -> dict[int, tuple[int, Float32Array]]:
        """Return the version and unit vector of each of these posts that is in the index."""
        vectors_by_id: dict[int, tuple[int, Float32Array]] = {}
        for batch in batches(post_ids, RETRIEVE_BATCH):
            for record in self._call_server(partial(self._client.retrieve, self.collection, batch, ["version"], True)):
                vectors_by_id[int(record.id)] = (
                    int((record.payload or {})["version"]),
                    np.array(record.vector, np.float32),
                )
        return vectors_by_id

    def versions(self) -> Iterator[tuple[int, int]]:
        """Yield the id and version of every post in the index."""
        for post_id, payload in self._scroll("version"):
            yield post_id, int(payload["version"])

    def authors(self) -> Iterator[tuple[int, int]]:
        """Yield the id of every post in the index, and the database id of its author."""
        for post_id, payload in self._scroll("author_id"):
            yield post_id, int(payload.get("author_id", 0))

    def exists(self) -> bool:
        """Return whether the server has the collection."""
        return bool(self._call_server(lambda: self._client.collection_exists(self.collection)))

    def count(self) -> int:
        """Return the number of posts in the index."""
        return int(self._call_server(lambda: self._client.count(self.collection)).count)

    def ping(self) -> None:
        """Raise `VectorIndexError` unless the server answers."""
        self._call_server(self._client.get_collections)

    # Write

    def create_collection(self) -> None:
        """Create the collection and its payload indexes if the collection does not exist."""
        if self.exists():
            return
        size = qdrant.models.VectorParams(size=self.dimension, distance=qdrant.models.Distance.COSINE)
        self._call_server(lambda: self._client.create_collection(self.collection, vectors_config=size))
        for field, kind in INDEXED_PAYLOAD.items():
            schema = qdrant.models.PayloadSchemaType(kind)
            self._call_server(partial(self._client.create_payload_index, self.collection, field, schema))

    def put(self, points: Sequence[Point]) -> None:
        """Store these posts, replacing earlier versions. A post with a zero vector is removed instead."""
        self.drop([point.post_id for point in points if not point.vector.any()])
        for batch in batches([point for point in points if point.vector.any()], WRITE_BATCH):
            structs = [
                qdrant.models.PointStruct(
                    id=point.post_id,
                    vector=point.vector.tolist(),
                    payload={
                        "version": point.version,
                        "author_id": point.author_id,
                        "visibility": point.visibility,
                        "sensitivity": point.sensitivity,
                        "language": point.language,
                    },
                )
                for point in batch
            ]
            self._call_server(partial(self._client.upsert, self.collection, structs, wait=True))

    def drop(self, post_ids: Sequence[int]) -> None:
        """Delete these posts."""
        for batch in batches(post_ids, WRITE_BATCH):
            selector = qdrant.models.PointIdsList(points=list(batch))
            self._call_server(partial(self._client.delete, self.collection, selector, wait=True))

    def optimize(self) -> int:
        """Make the server vacuum segments with 5 % or more deleted points, and return the number of posts."""
        optimizers = qdrant.models.OptimizersConfigDiff(deleted_threshold=0.05)
        self._call_server(lambda: self._client.update_collection(self.collection, optimizers_config=optimizers))
        return self.count()

    def delete_collection(self) -> None:
        """Delete the whole collection, of a model that is no longer active."""
        if self.exists():
            self._call_server(lambda: self._client.delete_collection(self.collection))

    # Internals

    def _scroll(self, field: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the id of every post in the index, and its payload with *field* only."""
        offset: qdrant.models.ExtendedPointId | None = None
        while True:
            scroll = partial(self._client.scroll, self.collection, limit=LIST_BATCH, with_payload=[field])
            records, offset = self._call_server(partial(scroll, offset=offset))
            for record in records:
                yield int(record.id), record.payload or {}
            if offset is None:
                return

    def _search(
        self, vectors: Float32Array, k: int, index_filter: IndexFilter
    ) -> Iterable[Sequence[qdrant.models.ScoredPoint]]:
        query_filter = self._qdrant_filter(index_filter)
        if not index_filter.author_cap:
            requests = [
                qdrant.models.QueryRequest(query=vector.tolist(), limit=k, filter=query_filter, with_payload=False)
                for vector in vectors
            ]
            responses = self._call_server(lambda: self._client.query_batch_points(self.collection, requests))
            return [response.points for response in responses]
        return [self._search_by_author(vector, k, query_filter, index_filter.author_cap) for vector in vectors]

    def _search_by_author(
        self, vector: Float32Array, k: int, query_filter: qdrant.models.Filter, cap: int
    ) -> list[qdrant.models.ScoredPoint]:
        """Return the nearest *cap* posts of each of the *k* nearest authors."""
        result = self._call_server(
            lambda: self._client.query_points_groups(
                self.collection,
                "author_id",
                query=vector.tolist(),
                limit=k,
                group_size=cap,
                query_filter=query_filter,
                with_payload=False,
            )
        )
        return [point for group in result.groups for point in group.hits]

    def _qdrant_filter(self, index_filter: IndexFilter) -> qdrant.models.Filter:
        """Return *index_filter* as a Qdrant filter."""
        public: qdrant.models.Condition = match_value("visibility", Visibility.PUBLIC)
        readable: list[qdrant.models.Condition] = [public]
        if len(index_filter.followed_author_ids):
            followed = match_any("author_id", index_filter.followed_author_ids.tolist())
            readable.append(qdrant.models.Filter(must=[match_value("visibility", Visibility.FOLLOWERS), followed]))
        must: list[qdrant.models.Condition] = [
            qdrant.models.Filter(should=readable),
            qdrant.models.FieldCondition(
                key="sensitivity", range=qdrant.models.Range(lte=index_filter.max_sensitivity)
            ),
        ]
        if len(index_filter.language_ids):
            must.append(match_any("language", ["", *self._vocabularies.languages.words_of(index_filter.language_ids)]))
        must_not: list[qdrant.models.Condition] = []
        if len(index_filter.excluded_author_ids):
            must_not.append(match_any("author_id", index_filter.excluded_author_ids.tolist()))
        return qdrant.models.Filter(must=must, must_not=must_not)

    def _call_server(self, call: Callable[[], R]) -> R:
        """Return the result of *call*. Raises `VectorIndexError` if it fails, at once while the breaker is open."""
        server = dependency("qdrant")
        if not server.allows_call():
            raise VectorIndexError("Qdrant failed a moment ago. Not called again yet.")
        exceptions = qdrant.http.exceptions
        client_error = qdrant.common.client_exceptions.QdrantException  # type: ignore[attr-defined]
        try:
            result = call()
        except (exceptions.ApiException, client_error, OSError) as error:
            # An error response (usually: unknown collection) proves that the server responds, unless it is overloaded.
            if isinstance(error, exceptions.UnexpectedResponse) and error.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                server.record_response()
            else:
                server.record_failure(error)
            raise VectorIndexError(f"Qdrant failed: {type(error).__name__}: {error}") from error
        except ValueError as error:
            # The in-process storage of qdrant-client raises this for an unknown collection.
            server.record_response()
            raise VectorIndexError(f"Qdrant failed: {error}") from error
        server.record_response()
        return result


def match_value(key: str, value: int) -> qdrant.models.FieldCondition:
    return qdrant.models.FieldCondition(key=key, match=qdrant.models.MatchValue(value=int(value)))


def match_any(key: str, values: Sequence[int] | Sequence[str]) -> qdrant.models.FieldCondition:
    return qdrant.models.FieldCondition(key=key, match=qdrant.models.MatchAny(any=list(values)))  # type: ignore[arg-type]


def batches(items: Sequence[R], size: int) -> Iterator[list[R]]:
    """Yield *items* in lists of at most *size*."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
