"""
The vector index follows the database, is rebuilt from it, and is compared with it.

The database is the source of truth: whatever is in doubt is written again. Every step may be done twice.
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
from recommendations.models import EmbeddingModel, Post, PostEmbedding
from recommendations.ports import VectorIndexError
from recommendations.services import wiring
from recommendations.services.vectors.embedding import CONTENT_SPACE, Progress
from recommendations.stores.qdrant_vectors import Point, QdrantVectors
from recommendations.stores.resident_catalogue import OVERLAP

log = logging.getLogger(__name__)

BATCH_POSTS = 1_000
SAMPLE_POSTS = 200
MAX_VECTOR_DISTANCE = 1e-3
"""From this distance on, two unit vectors are not the same one."""


class NoVectorIndexError(VectorIndexError):
    """There is no vector index to work on."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How an index differs from the database. All counts are of posts."""

    index: str
    in_database: int
    in_index: int
    missing: int
    stale: int
    """Of another version than in the database."""
    extra: int
    """In the index, though removed or without a vector."""
    different: int
    """With another vector, among the sampled."""
    sampled: int

    @property
    def wrong_posts(self) -> int:
        """Posts that are wrong in some way: the value to watch."""
        return self.missing + self.stale + self.extra + self.different


def require_vector_index(space: str) -> QdrantVectors:
    """Return the index of *space*, or raise `NoVectorIndexError`."""
    index = wiring.vector_index(space)
    if index is None:
        raise NoVectorIndexError(
            f"There is no vector index of the space {space}: set QDRANT_URL, then run manage.py embed."
        )
    return index


# Following


def sync_vector_indexes(*, now: datetime) -> int:
    """Bring every space's index up to date with what changed. Return how many posts were looked at."""
    return sum(sync_space(row, now) for row in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE))


def sync_space(row: EmbeddingModel, now: datetime) -> int:
    """Bring one index up to date; the moment is noted when all is written, so the next run makes a failure good."""
    index = wiring.vector_index(row.space)
    if index is None:
        return 0
    index.create_collection()
    since, looked = row.indexed_until, 0
    changed = Post.objects.all()
    if since is not None:
        own = Q(embeddings__space=row.space, embeddings__embedding_model=row.name, embeddings__changed_at__gte=since - OVERLAP)
        changed = changed.filter(Q(changed_at__gte=since - OVERLAP) | own).distinct()
    for ids in id_batches(changed):
        write_points(index, row.space, row.name, ids)
        looked += len(ids)
    EmbeddingModel.objects.filter(pk=row.pk).update(indexed_until=now)
    return looked


def index_posts(*, space: str, post_ids: Sequence[int]) -> None:
    """Bring these posts' entries up to date."""
    index = require_vector_index(space)
    index.create_collection()
    write_points(index, space, wiring.vector_parts().embedding_models[space].name, post_ids)


def write_points(index: QdrantVectors, space: str, model: str, post_ids: Sequence[int]) -> None:
    """Write the entries of the posts that stand and have a vector, and drop those of the others."""
    points = build_points(space, model, post_ids)
    index.put(points)
    index.drop(sorted(set(post_ids) - {point.post_id for point in points}))


def build_points(space: str, model: str, post_ids: Sequence[int]) -> list[Point]:
    """Return what the index shall keep of these posts."""
    facts = (
        "post_id",
        "vector",
        "version",
        "post__author_id",
        "post__visibility",
        "post__sensitivity",
        "post__language",
    )
    rows = indexable_embeddings(space, model).filter(post__in=post_ids).values_list(*facts)
    return [Point(row[0], np.frombuffer(bytes(row[1]), "<f4"), *row[2:]) for row in rows]


def indexable_embeddings(space: str, model: str) -> QuerySet[PostEmbedding]:
    """Return the embeddings of posts that stand; a zero vector (nothing to embed) is in no index."""
    rows = PostEmbedding.objects.filter(space=space, embedding_model=model, post__removed_at__isnull=True)
    dimension = rows.values_list("dimension", flat=True).first() or 0
    return rows.exclude(vector=bytes(4 * dimension))


def id_batches(posts: QuerySet[Post]) -> Iterator[list[int]]:
    """Yield the ids of *posts* in ascending batches."""
    last = 0
    while ids := list(posts.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH_POSTS]):
        yield ids
        last = ids[-1]


# Rebuilding


def reindex(
    *, space: str = CONTENT_SPACE, resume: bool = False, now: datetime, progress: Progress | None = None
) -> int:
    """
    Write every post of *space* into its index again, and drop from it what the database does not have.

    The index answers meanwhile. *resume*: leave what has the right version already, as after a run that was cut off.
    Return how many posts were written.
    """
    index = require_vector_index(space)
    index.create_collection()
    model = wiring.vector_parts().embedding_models[space].name
    has = dict(index.versions())
    wanted = dict(indexable_embeddings(space, model).order_by("post_id").values_list("post_id", "version"))
    todo = [post_id for post_id, version in wanted.items() if not (resume and has.get(post_id) == version)]
    for start in range(0, len(todo), BATCH_POSTS):
        write_points(index, space, model, todo[start : start + BATCH_POSTS])
        if progress:
            progress(min(start + BATCH_POSTS, len(todo)), len(todo))
    index.drop(sorted(set(has) - set(wanted)))
    EmbeddingModel.objects.filter(space=space, name=model).update(indexed_until=now)
    return len(todo)


# Comparing


def compare_indexes(*, space: str = CONTENT_SPACE, now: datetime) -> list[Drift]:
    """Return how each index of *space* that this process can ask differs from the database: resident, and Qdrant."""
    wiring.catalogue().refresh(now)
    model = wiring.vector_parts().embedding_models.get(space)
    name = model.name if model else wiring.embedder().name
    wanted = dict(indexable_embeddings(space, name).values_list("post_id", "version"))
    truth = vectors_in_database(space, name, sample_post_ids(wanted))
    found = [compare_resident(space, wanted, truth)]
    if index := wiring.vector_index(space):
        found.append(compare_qdrant(index, wanted, truth))
    return found


def compare_qdrant(index: QdrantVectors, expected: dict[int, int], vectors: dict[int, Float32Array]) -> Drift:
    """Return how Qdrant differs: every id and version is compared, and the sampled vectors."""
    has = dict(index.versions())
    theirs = {post_id: vector for post_id, (_, vector) in index.vectors(list(vectors)).items()}
    return Drift(
        index="qdrant",
        in_database=len(expected),
        in_index=len(has),
        missing=len(set(expected) - set(has)),
        stale=sum(1 for post_id, version in has.items() if expected.get(post_id, version) != version),
        extra=len(set(has) - set(expected)),
        different=count_different_vectors(vectors, theirs),
        sampled=len(vectors),
    )


def compare_resident(space: str, expected: dict[int, int], truth: dict[int, Float32Array]) -> Drift:
    """Return how this process's own vectors differ. It holds the newest posts only: older ones are not missed."""
    catalogue = wiring.catalogue()
    resident = catalogue.all_posts().post_ids
    known = set(resident[resident > 0].tolist())
    here = np.array([post_id for post_id in truth if post_id in known], np.int64)
    vectors = wiring.space_index(space).engine.vectors(catalogue.rows_of(here))
    return Drift(
        index="resident",
        in_database=len(expected),
        in_index=len(known & set(expected)),
        missing=max(0, min(len(expected), settings.ENV.catalogue_max_posts) - len(known & set(expected))),
        stale=0,
        extra=0,
        different=count_different_vectors(truth, dict(zip(here.tolist(), vectors, strict=True))),
        sampled=len(here),
    )


def sample_post_ids(post_ids: Iterable[int]) -> list[int]:
    """Return some of *post_ids*, spread evenly and the newest among them."""
    ordered = sorted(post_ids)
    step = max(1, len(ordered) // SAMPLE_POSTS)
    return ordered[::-step][:SAMPLE_POSTS]


def vectors_in_database(space: str, model: str, post_ids: Sequence[int]) -> dict[int, Float32Array]:
    rows = indexable_embeddings(space, model).filter(post__in=post_ids).values_list("post_id", "vector")
    return {post_id: np.frombuffer(bytes(vector), "<f4") for post_id, vector in rows}


def count_different_vectors(truth: dict[int, Float32Array], found: dict[int, Float32Array]) -> int:
    """Return how many of the posts that both have differ in their vectors."""
    return sum(1 for id in truth.keys() & found.keys() if np.abs(truth[id] - found[id]).max() > MAX_VECTOR_DISTANCE)


def index_lag_seconds(*, now: datetime) -> float:
    """Return how long the vector index has not followed while posts changed; 0 if it has, or is not used."""
    rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE, indexed_until__isnull=False)
    oldest = rows.aggregate(oldest=Min("indexed_until"))["oldest"]
    if wiring.qdrant_client() is None or oldest is None or not Post.objects.filter(changed_at__gt=oldest).exists():
        return 0.0
    return max(0.0, (now - oldest).total_seconds())


def catalogue_lag_seconds(*, now: datetime) -> float:
    """Return how old what this process's resident catalogue knows is; 0 if no post changed since it last looked."""
    refreshed = wiring.catalogue().refreshed_at
    if refreshed is None or not Post.objects.filter(changed_at__gt=refreshed).exists():
        return 0.0
    return max(0.0, (now - refreshed).total_seconds())


# Watching


def observe_lags(*, now: datetime) -> None:
    """Count how far the vector index and this process's catalogue are behind."""
    metrics.INDEX_LAG_SECONDS.labels("qdrant").set(index_lag_seconds(now=now))
    metrics.INDEX_LAG_SECONDS.labels("resident").set(catalogue_lag_seconds(now=now))


def measure_drift(*, now: datetime) -> list[Drift]:
    """Compare every space's indexes with the database, and count what is wrong; a silent server is passed over."""
    found: list[Drift] = []
    for space in {CONTENT_SPACE, *wiring.vector_parts().embedding_models}:
        try:
            drifts = compare_indexes(space=space, now=now)
        except VectorIndexError as error:
            log.warning("drift_not_measured", extra={"space": space, "problem": str(error)})
            continue
        for one in drifts:
            metrics.INDEX_DRIFT.labels(space, one.index).set(one.wrong_posts)
        found += drifts
    return found
