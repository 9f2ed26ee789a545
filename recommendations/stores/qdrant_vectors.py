"""
The vectors of posts in Qdrant: one collection a space and model, so that vectors of two models never meet.

It holds copies: ids, vectors and the facts that filters are pushed down by. What it forgets, `manage.py reindex` brings
back. A server that does not answer costs its candidates, and is left alone for a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from recommendations.contracts import UNKNOWN, Float32Array, IndexFilter, Int64Array, Visibility
from recommendations.ports import VectorError, VectorIndexError
from recommendations.stores.vocabulary import Vocabularies

R = TypeVar("R")

RETRIEVE_BATCH = 50
"""Posts whose vectors one request brings. Changes the speed."""
WRITE_BATCH = 500
LIST_BATCH = 10_000
COOLDOWN_SECONDS = 10.0
"""After a failure the server is not asked for so long: a request pays for one timeout, not for each of them."""
INDEXED_PAYLOAD = {
    "author_id": models.PayloadSchemaType.INTEGER,
    "visibility": models.PayloadSchemaType.INTEGER,
    "sensitivity": models.PayloadSchemaType.INTEGER,
    "language": models.PayloadSchemaType.KEYWORD,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A post as the index keeps it."""

    post_id: int
    vector: Float32Array  # (d,)
    version: int
    author_id: int
    visibility: int
    sensitivity: int
    language: str


class QdrantVectors:
    """Keeps `VectorIndex` in a Qdrant server, or in qdrant-client's own memory."""

    def __init__(
        self, client: QdrantClient, *, space: str, model: str, dimension: int, vocabularies: Vocabularies
    ) -> None:
        self.dimension = dimension
        self.collection = f"recsys-{space}-{re.sub(r'[^A-Za-z0-9]+', '-', model)}"
        self._client = client
        self._words = vocabularies
        self._rests_until = 0.0

    # Asking

    def nearest(self, vectors: Float32Array, k: int, index_filter: IndexFilter) -> tuple[Int64Array, Float32Array]:
        """See `VectorIndex.nearest`."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or not np.isfinite(vectors).all():
            raise VectorError(f"Give finite vectors (q, {self.dimension}), not {vectors.shape}.")
        ids = np.full((len(vectors), k), UNKNOWN, np.int64)
        cosines = np.zeros((len(vectors), k), np.float32)
        asked = np.flatnonzero(np.any(vectors != 0, axis=1))
        if len(asked) and k > 0:
            for q, points in zip(asked, self._search(vectors[asked], k, index_filter), strict=True):
                best = sorted(points, key=lambda point: (-point.score, point.id))[:k]
                ids[q, : len(best)] = [int(point.id) for point in best]
                cosines[q, : len(best)] = [point.score for point in best]
        return ids, cosines

    def vectors(self, post_ids: Sequence[int]) -> dict[int, tuple[int, Float32Array]]:
        """Return version and unit vector of each of these posts that the index has."""
        found: dict[int, tuple[int, Float32Array]] = {}
        for batch in batches(post_ids, RETRIEVE_BATCH):
            for record in self._call_server(partial(self._client.retrieve, self.collection, batch, ["version"], True)):
                found[int(record.id)] = (int((record.payload or {})["version"]), np.array(record.vector, np.float32))
        return found

    def versions(self) -> Iterator[tuple[int, int]]:
        """Yield id and version of every post in the index."""
        place: models.ExtendedPointId | None = None
        while True:
            scroll = partial(self._client.scroll, self.collection, limit=LIST_BATCH, with_payload=["version"])
            records, place = self._call_server(partial(scroll, offset=place))
            for record in records:
                yield int(record.id), int((record.payload or {})["version"])
            if place is None:
                return

    def count(self) -> int:
        """Return how many posts the index has."""
        return int(self._call_server(lambda: self._client.count(self.collection)).count)

    def ping(self) -> None:
        """Raise `VectorIndexError` unless the server answers."""
        self._rests_until = 0.0
        self._call_server(self._client.get_collections)

    # Following

    def create_collection(self) -> None:
        """Make the collection if it is not there."""
        if self._call_server(lambda: self._client.collection_exists(self.collection)):
            return
        size = models.VectorParams(size=self.dimension, distance=models.Distance.COSINE)
        self._call_server(lambda: self._client.create_collection(self.collection, vectors_config=size))
        for fact, kind in INDEXED_PAYLOAD.items():
            self._call_server(partial(self._client.create_payload_index, self.collection, fact, kind))

    def put(self, points: Sequence[Point]) -> None:
        """Keep these posts in place of what was there; one without a direction is left out."""
        self.drop([point.post_id for point in points if not point.vector.any()])
        for batch in batches([point for point in points if point.vector.any()], WRITE_BATCH):
            structs = [
                models.PointStruct(
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
        """Forget these posts."""
        for batch in batches(post_ids, WRITE_BATCH):
            selected = models.PointIdsList(points=list(batch))
            self._call_server(partial(self._client.delete, self.collection, selected, wait=True))

    def optimize(self) -> int:
        """Have the server vacuum segments from 5 % of deleted points on, and return how many posts it has."""
        thrifty = models.OptimizersConfigDiff(deleted_threshold=0.05)
        self._call_server(lambda: self._client.update_collection(self.collection, optimizers_config=thrifty))
        return self.count()

    def delete_collection(self) -> None:
        """Give up the whole collection: of a model that no longer serves."""
        if self._call_server(lambda: self._client.collection_exists(self.collection)):
            self._call_server(lambda: self._client.delete_collection(self.collection))

    # The rest

    def _search(
        self, vectors: Float32Array, k: int, index_filter: IndexFilter
    ) -> Iterable[Sequence[models.ScoredPoint]]:
        where = self._qdrant_filter(index_filter)
        if not index_filter.author_cap:
            requests = [
                models.QueryRequest(query=vector.tolist(), limit=k, filter=where, with_payload=False)
                for vector in vectors
            ]
            answers = self._call_server(lambda: self._client.query_batch_points(self.collection, requests))
            return [answer.points for answer in answers]
        return [self._search_by_author(vector, k, where, index_filter.author_cap) for vector in vectors]

    def _search_by_author(
        self, vector: Float32Array, k: int, where: models.Filter, cap: int
    ) -> list[models.ScoredPoint]:
        """Return the best *cap* posts of each of the *k* best authors."""
        found = self._call_server(
            lambda: self._client.query_points_groups(
                self.collection,
                "author_id",
                query=vector.tolist(),
                limit=k,
                group_size=cap,
                query_filter=where,
                with_payload=False,
            )
        )
        return [point for group in found.groups for point in group.hits]

    def _qdrant_filter(self, index_filter: IndexFilter) -> models.Filter:
        """Return *wanted* in Qdrant's words."""
        public: models.Condition = match_value("visibility", Visibility.PUBLIC)
        seen: list[models.Condition] = [public]
        if len(index_filter.followed_author_ids):
            followed = match_any("author_id", index_filter.followed_author_ids.tolist())
            seen.append(models.Filter(must=[match_value("visibility", Visibility.FOLLOWERS), followed]))
        must: list[models.Condition] = [
            models.Filter(should=seen),
            models.FieldCondition(key="sensitivity", range=models.Range(lte=index_filter.max_sensitivity)),
        ]
        if len(index_filter.language_ids):
            must.append(match_any("language", ["", *self._words.languages.words_of(index_filter.language_ids)]))
        without: list[models.Condition] = []
        if len(index_filter.excluded_author_ids):
            without.append(match_any("author_id", index_filter.excluded_author_ids.tolist()))
        return models.Filter(must=must, must_not=without)

    def _call_server(self, call: Callable[[], R]) -> R:
        """Return what the server answers, or raise `VectorIndexError`: at once while it rests."""
        if monotonic() < self._rests_until:
            raise VectorIndexError("Qdrant failed a moment ago and is not asked now.")
        try:
            return call()
        except (ApiException, OSError) as error:
            # A server that says no (an unknown collection, as a rule) is there: only one that is silent rests.
            if not isinstance(error, UnexpectedResponse):
                self._rests_until = monotonic() + COOLDOWN_SECONDS
            raise VectorIndexError(f"Qdrant gave no answer: {type(error).__name__}: {error}") from error
        except ValueError as error:
            # How qdrant-client's own memory says that there is no such collection.
            raise VectorIndexError(f"Qdrant gave no answer: {error}") from error


def match_value(key: str, value: int) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=int(value)))


def match_any(key: str, values: Sequence[int] | Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))  # type: ignore[arg-type]


def batches(items: Sequence[R], size: int) -> Iterator[list[R]]:
    """Yield *items* in lists of at most *size*."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
