"""
A client for Qdrant's engine in this process, with the methods of qdrant-client that `QdrantVectors` calls.

Filters, search and payloads run the server's code (`qdrant-edge-py`). Transport and grouping do not: a server groups
results above its shards, and this client groups the hits of a longer result.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

INDEX_TYPES = {
    models.PayloadSchemaType.INTEGER: edge.PayloadSchemaType.Integer,
    models.PayloadSchemaType.KEYWORD: edge.PayloadSchemaType.Keyword,
}


def translate_filter(condition: models.Filter | models.FieldCondition) -> edge.Filter | edge.FieldCondition:
    """Return a filter, or one of its conditions, as a type of the engine."""
    if isinstance(condition, models.Filter):
        clauses = {
            clause: [translate_filter(item) for item in getattr(condition, clause)]
            for clause in ("must", "should", "must_not")
            if getattr(condition, clause)
        }
        return edge.Filter(**clauses)
    match, value_range = condition.match, condition.range
    if isinstance(match, models.MatchAny):
        return edge.FieldCondition(condition.key, match=edge.MatchAny(match.any))
    if isinstance(match, models.MatchValue):
        return edge.FieldCondition(condition.key, match=edge.MatchValue(match.value))
    return edge.FieldCondition(condition.key, range=edge.RangeFloat(lte=value_range.lte))


class EdgeClient:
    """A client that stores each collection as a shard in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, edge.EdgeShard] = {}

    def _shard(self, collection: str) -> edge.EdgeShard:
        if collection not in self._shards:
            raise UnexpectedResponse(404, "Not Found", f"no collection {collection}".encode(), None)  # type: ignore[arg-type]
        return self._shards[collection]

    def _path(self, collection: str) -> Path:
        return self._folder / re.sub(r"\W", "-", collection)

    def get_collections(self) -> list[str]:
        return list(self._shards)

    def collection_exists(self, collection: str) -> bool:
        return collection in self._shards

    def create_collection(self, collection: str, vectors_config: models.VectorParams) -> None:
        vectors = edge.EdgeVectorParams(size=vectors_config.size, distance=edge.Distance.Cosine)
        path = self._path(collection)
        path.mkdir(parents=True)
        self._shards[collection] = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=vectors))

    def delete_collection(self, collection: str) -> None:
        self._shards.pop(collection).close()
        shutil.rmtree(self._path(collection))

    def create_payload_index(self, collection: str, fact: str, kind: models.PayloadSchemaType) -> None:
        self._shard(collection).update(edge.UpdateOperation.create_field_index(fact, INDEX_TYPES[kind]))

    def upsert(self, collection: str, points: Sequence[models.PointStruct], wait: bool) -> None:
        converted = [edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shard(collection).update(edge.UpdateOperation.upsert_points(converted))

    def delete(self, collection: str, selected: models.PointIdsList, wait: bool) -> None:
        self._shard(collection).update(edge.UpdateOperation.delete_points(selected.points))

    def retrieve(self, collection: str, ids: Sequence[int], payload: object, vectors: bool) -> list[edge.Record]:
        return self._shard(collection).retrieve(list(ids), True, vectors)

    def scroll(
        self, collection: str, limit: int, with_payload: object, offset: int | None = None
    ) -> tuple[list[edge.Record], int | None]:
        return self._shard(collection).scroll(edge.ScrollRequest(offset=offset, limit=limit, with_payload=True))

    def query_batch_points(self, collection: str, requests: Sequence[models.QueryRequest]) -> list[SimpleNamespace]:
        converted = [nearest_request(request.query, request.limit, request.filter) for request in requests]
        results = self._shard(collection).query_batch(edge.QueryBatchRequest(converted))
        return [SimpleNamespace(points=points) for points in results]

    def query_points_groups(
        self,
        collection: str,
        group_by: str,
        *,
        query: list[float],
        limit: int,
        group_size: int,
        query_filter: models.Filter,
        with_payload: bool,
    ) -> SimpleNamespace:
        request = nearest_request(query, 1000, query_filter, with_payload=True)
        groups: dict[object, list[edge.ScoredPoint]] = {}
        for point in self._shard(collection).query(request):
            group = groups.setdefault((point.payload or {})[group_by], [])
            if len(group) < group_size:
                group.append(point)
        return SimpleNamespace(groups=[SimpleNamespace(hits=hits) for hits in list(groups.values())[:limit]])

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()


def nearest_request(
    vector: list[float], limit: int, query_filter: models.Filter | None, *, with_payload: bool = False
) -> edge.QueryRequest:
    """Return a request for the nearest points."""
    return edge.QueryRequest(
        limit=limit,
        query=edge.Query.Nearest(vector),
        filter=translate_filter(query_filter) if query_filter else None,
        with_payload=with_payload,
    )
