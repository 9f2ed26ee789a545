"""
Synchronization of the vector indexes with the database: incremental updates, rebuilds and comparisons.

The database is the source of truth: entries in doubt are written again. Every step is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.conf import settings
from django.db.models import Min, Q, QuerySet

from monitoring import metrics
from recommendations.contracts import Float32Array
from recommendations.models import EmbeddingModel, ErasedPost, Post, PostEmbedding
from recommendations.ports import VectorIndexError
from recommendations.services import wiring
from recommendations.services.vectors.embedding import CONTENT_SPACE, Progress
from recommendations.stores.qdrant_vectors import Point, QdrantVectors
from recommendations.stores.resident_catalogue import OVERLAP

log = logging.getLogger(__name__)

BATCH_POSTS = 1_000
SAMPLE_POSTS = 200
MAX_VECTOR_DISTANCE = 1e-3
"""Two unit vectors that differ by more than this in any component count as different."""


class NoVectorIndexError(VectorIndexError):
    """The space has no vector index."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The differences between an index and the database. All counts are numbers of posts."""

    index: str
    in_database: int
    in_index: int
    missing: int
    stale: int
    """In the index with another version than in the database."""
    extra: int
    """In the index, although removed or without a vector in the database."""
    different: int
    """Sampled posts whose vector differs."""
    sampled: int

    @property
    def wrong_posts(self) -> int:
        """Number of posts with any difference: the value to monitor."""
        return self.missing + self.stale + self.extra + self.different


def require_vector_index(space: str) -> QdrantVectors:
    """Return the index of *space*, or raise `NoVectorIndexError`."""
    index = wiring.vector_index(space)
    if index is None:
        raise NoVectorIndexError(f"The space {space} has no vector index: set QDRANT_URL, then run manage.py embed.")
    return index


# Incremental updates


def sync_vector_indexes(*, now: datetime) -> int:
    """Write the changed posts of every space to its index. Return the number of changed posts."""
    return sum(sync_space(row, now) for row in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE))


def sync_space(row: EmbeddingModel, now: datetime) -> int:
    """
    Write the changed posts of one space to its index. Return their number.

    `indexed_until` is updated after all writes, so that the next run repeats the work of a failed one.
    """
    index = wiring.vector_index(row.space)
    if index is None:
        return 0
    index.create_collection()
    since, count = row.indexed_until, 0
    changed = Post.objects.all()
    if since is not None:
        has_changed_vector = Q(
            embeddings__space=row.space,
            embeddings__embedding_model=row.name,
            embeddings__changed_at__gte=since - OVERLAP,
        )
        changed = changed.filter(Q(changed_at__gte=since - OVERLAP) | has_changed_vector).distinct()
    for ids in id_batches(changed):
        write_points(index, row.space, row.name, ids)
        count += len(ids)
    EmbeddingModel.objects.filter(pk=row.pk).update(indexed_until=now)
    return count


def drop_erased_posts() -> int:
    """
    Delete the vectors of erased posts from every collection, also those of models that are not active.

    Return the number of posts. Raises `VectorIndexError` if Qdrant fails: `ErasedPost.is_indexed` then stays true, so
    that the next call deletes them.
    """
    post_ids = list(ErasedPost.objects.filter(is_indexed=True).order_by("pk").values_list("pk", flat=True))
    if post_ids:
        for index in list_indexes():
            index.drop(post_ids)
        for start in range(0, len(post_ids), BATCH_POSTS):
            ErasedPost.objects.filter(pk__in=post_ids[start : start + BATCH_POSTS]).update(is_indexed=False)
    return len(post_ids)


def list_indexes() -> list[QdrantVectors]:
    """Return the collection of every embedding model that has one. Raises `VectorIndexError`."""
    models = EmbeddingModel.objects.order_by("pk").values_list("space", "name", "dimension")
    indexes = [wiring.vector_index_of(space, name, dimension) for space, name, dimension in models]
    return [index for index in indexes if index and index.exists()]


def index_posts(*, space: str, post_ids: Sequence[int]) -> None:
    """Write these posts to the index of *space*, and delete entries of posts that are removed or have no vector."""
    index = require_vector_index(space)
    index.create_collection()
    write_points(index, space, wiring.vector_parts().embedding_models[space].name, post_ids)


def write_points(index: QdrantVectors, space: str, model: str, post_ids: Sequence[int]) -> None:
    """Write the entries of posts that are not removed and have a vector. Delete the entries of the others."""
    points = build_points(space, model, post_ids)
    index.put(points)
    index.drop(sorted(set(post_ids) - {point.post_id for point in points}))


def build_points(space: str, model: str, post_ids: Sequence[int]) -> list[Point]:
    """Return the index entries of these posts."""
    columns = (
        "post_id",
        "vector",
        "version",
        "post__author_id",
        "post__visibility",
        "post__sensitivity",
        "post__language",
    )
    rows = indexable_embeddings(space, model).filter(post__in=post_ids).values_list(*columns)
    return [Point(row[0], np.frombuffer(bytes(row[1]), "<f4"), *row[2:]) for row in rows]


def indexable_embeddings(space: str, model: str) -> QuerySet[PostEmbedding]:
    """Return the embeddings of posts that are not removed, without zero vectors (posts with nothing to embed)."""
    rows = PostEmbedding.objects.filter(space=space, embedding_model=model, post__removed_at__isnull=True)
    dimension = rows.values_list("dimension", flat=True).first() or 0
    return rows.exclude(vector=bytes(4 * dimension))


def id_batches(posts: QuerySet[Post]) -> Iterator[list[int]]:
    """Yield the ids of *posts* in ascending batches."""
    last_pk = 0
    while ids := list(posts.filter(pk__gt=last_pk).order_by("pk").values_list("pk", flat=True)[:BATCH_POSTS]):
        yield ids
        last_pk = ids[-1]


# Rebuild


def reindex(
    *, space: str = CONTENT_SPACE, resume: bool = False, now: datetime, progress: Progress | None = None
) -> int:
    """
    Write every post of *space* to its index again, and delete entries that the database does not have.

    The index serves queries meanwhile. With *resume*, entries that already have the right version are skipped, for
    example after an interrupted run. Return the number of written posts.
    """
    index = require_vector_index(space)
    index.create_collection()
    model = wiring.vector_parts().embedding_models[space].name
    indexed = dict(index.versions())
    expected = dict(indexable_embeddings(space, model).order_by("post_id").values_list("post_id", "version"))
    pending = [post_id for post_id, version in expected.items() if not (resume and indexed.get(post_id) == version)]
    for start in range(0, len(pending), BATCH_POSTS):
        write_points(index, space, model, pending[start : start + BATCH_POSTS])
        if progress:
            progress(min(start + BATCH_POSTS, len(pending)), len(pending))
    index.drop(sorted(set(indexed) - set(expected)))
    EmbeddingModel.objects.filter(space=space, name=model).update(indexed_until=now)
    return len(pending)


# Comparison


def compare_indexes(*, space: str = CONTENT_SPACE, now: datetime) -> list[Drift]:
    """Compare the indexes of *space* with the database: the resident one of this process, and Qdrant if configured."""
    wiring.catalogue().refresh(now)
    model = wiring.vector_parts().embedding_models.get(space)
    name = model.name if model else wiring.embedder().name
    expected = dict(indexable_embeddings(space, name).values_list("post_id", "version"))
    vectors = vectors_in_database(space, name, sample_post_ids(expected))
    drifts = [compare_resident(space, expected, vectors)]
    if index := wiring.vector_index(space):
        drifts.append(compare_qdrant(index, expected, vectors))
    return drifts


def compare_qdrant(index: QdrantVectors, expected: dict[int, int], vectors: dict[int, Float32Array]) -> Drift:
    """Compare Qdrant with the database: all ids and versions, and the sampled *vectors*."""
    indexed = dict(index.versions())
    indexed_vectors = {post_id: vector for post_id, (_, vector) in index.vectors(list(vectors)).items()}
    return Drift(
        index="qdrant",
        in_database=len(expected),
        in_index=len(indexed),
        missing=len(set(expected) - set(indexed)),
        stale=sum(1 for post_id, version in indexed.items() if expected.get(post_id, version) != version),
        extra=len(set(indexed) - set(expected)),
        different=count_different_vectors(vectors, indexed_vectors),
        sampled=len(vectors),
    )


def compare_resident(space: str, expected: dict[int, int], vectors: dict[int, Float32Array]) -> Drift:
    """
    Compare the resident vectors of this process with the database.

    Only the newest CATALOGUE_MAX_POSTS posts are resident, so older posts do not count as missing.
    """
    catalogue = wiring.catalogue()
    rows = catalogue.all_posts().post_ids
    resident_ids = set(rows[rows > 0].tolist())
    sampled_ids = np.array([post_id for post_id in vectors if post_id in resident_ids], np.int64)
    resident_vectors = wiring.space_index(space).engine.vectors(catalogue.rows_of(sampled_ids))
    in_index = len(resident_ids & set(expected))
    return Drift(
        index="resident",
        in_database=len(expected),
        in_index=in_index,
        missing=max(0, min(len(expected), settings.ENV.catalogue_max_posts) - in_index),
        stale=0,
        extra=0,
        different=count_different_vectors(vectors, dict(zip(sampled_ids.tolist(), resident_vectors, strict=True))),
        sampled=len(sampled_ids),
    )


def sample_post_ids(post_ids: Iterable[int]) -> list[int]:
    """Return at most `SAMPLE_POSTS` of *post_ids*, evenly spaced and including the newest."""
    ordered = sorted(post_ids)
    step = max(1, len(ordered) // SAMPLE_POSTS)
    return ordered[::-step][:SAMPLE_POSTS]


def vectors_in_database(space: str, model: str, post_ids: Sequence[int]) -> dict[int, Float32Array]:
    rows = indexable_embeddings(space, model).filter(post__in=post_ids).values_list("post_id", "vector")
    return {post_id: np.frombuffer(bytes(vector), "<f4") for post_id, vector in rows}


def count_different_vectors(expected: dict[int, Float32Array], actual: dict[int, Float32Array]) -> int:
    """Return the number of posts in both dicts whose vectors differ."""
    return sum(
        1 for id in expected.keys() & actual.keys() if np.abs(expected[id] - actual[id]).max() > MAX_VECTOR_DISTANCE
    )


def index_lag_seconds(*, now: datetime) -> float:
    """Return the age of the vector index if posts have changed since its last update, else 0. 0 without Qdrant."""
    rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE, indexed_until__isnull=False)
    oldest = rows.aggregate(oldest=Min("indexed_until"))["oldest"]
    if wiring.qdrant_client() is None or oldest is None or not Post.objects.filter(changed_at__gt=oldest).exists():
        return 0.0
    return max(0.0, (now - oldest).total_seconds())


def catalogue_lag_seconds(*, now: datetime) -> float:
    """Return the age of this process's catalogue if posts have changed since its last refresh, else 0."""
    refreshed = wiring.catalogue().refreshed_at
    if refreshed is None or not Post.objects.filter(changed_at__gt=refreshed).exists():
        return 0.0
    return max(0.0, (now - refreshed).total_seconds())


# Metrics


def observe_lags(*, now: datetime) -> None:
    """Update the lag metrics of the vector index and of this process's catalogue."""
    metrics.INDEX_LAG_SECONDS.labels("qdrant").set(index_lag_seconds(now=now))
    metrics.INDEX_LAG_SECONDS.labels("resident").set(catalogue_lag_seconds(now=now))


def measure_drift(*, now: datetime) -> list[Drift]:
    """Compare the indexes of every space, and update the drift metrics. A space whose index is down is skipped."""
    measured: list[Drift] = []
    for space in {CONTENT_SPACE, *wiring.vector_parts().embedding_models}:
        try:
            drifts = compare_indexes(space=space, now=now)
        except VectorIndexError as error:
            log.warning("index_drift_not_measured", extra={"space": space, "problem": str(error)})
            continue
        for drift in drifts:
            metrics.INDEX_DRIFT.labels(space, drift.index).set(drift.wrong_posts)
        measured += drifts
    return measured
