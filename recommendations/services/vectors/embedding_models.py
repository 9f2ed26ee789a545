"""
Embedding models: switch to a new one without interrupting feeds, and store vectors that the platform supplies.

A new model embeds every post in the background and is then activated. Until then the old model serves, and new posts
get vectors of both. Vectors of different models are never compared: right after the switch, members' interests are
rebuilt from their history.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from django.conf import settings

from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import Float32Array, Float64Array
from recommendations.engines.plain import as_float32, normalize_rows
from recommendations.models import EmbeddingModel, Job, Post, PostEmbedding
from recommendations.ports import Embedder, VectorError
from recommendations.services import invalidate, wiring, work
from recommendations.services.vectors.embedding import CONTENT_SPACE, Progress, embed_posts, has_posts_to_embed
from recommendations.stores.bulk import insert_columns
from recommendations.stores.row_locks import lock_posts

log = logging.getLogger(__name__)

ModelState = EmbeddingModel.State
SUPPLIED_LOADER = "supplied"
"""The loader of an embedding model whose vectors the platform supplies."""


def embed_due_posts(*, now: datetime, progress: Progress | None = None) -> int:
    """
    Embed the due posts with the active model and with the model that EMBEDDER configures.

    The configured model is activated once it has embedded every post. Return the number of new vectors.
    """
    wiring.sync_embedding_models(now, must_be_current=True)
    active, configured = wiring.embedder(), wiring.configured_embedder()
    done = embed_posts(embedder=active, now=now, progress=progress)
    row = register_configured_model(configured, now)
    if row.state == ModelState.ACTIVE:
        update_model_progress(row, now)
        if done:
            task_queue.enqueue(task_queue.SYNC_VECTOR_INDEXES)
        return done
    if active.name != configured.name:
        done += embed_posts(embedder=configured, now=now, progress=progress)
    update_model_progress(row, now)
    if not has_posts_to_embed(configured.name):
        activate_embedding_model(row, now)
    return done


@write_transaction
def register_configured_model(embedder: Embedder, now: datetime) -> EmbeddingModel:
    """Return the row of the configured model; its state becomes "building" if it is new or was retired."""
    loader = {"embedder": settings.ENV.embedder, "option": embedder_option(settings.ENV.embedder)}
    row, _ = EmbeddingModel.objects.get_or_create(
        space=CONTENT_SPACE,
        name=embedder.name,
        defaults={**loader, "dimension": embedder.dimension, "created_at": now, "changed_at": now},
    )
    lock_models(CONTENT_SPACE)
    others = EmbeddingModel.objects.filter(space=CONTENT_SPACE, state=ModelState.BUILDING).exclude(pk=row.pk)
    others.update(state=ModelState.RETIRED, changed_at=now)
    EmbeddingModel.objects.filter(pk=row.pk, state=ModelState.RETIRED).update(state=ModelState.BUILDING, changed_at=now)
    row.refresh_from_db()
    return row


def lock_models(space: str) -> None:
    """Lock every embedding model of the space, so that no other transaction changes which one is active."""
    list(EmbeddingModel.objects.select_for_update().filter(space=space).order_by("pk").values_list("pk"))


def embedder_option(embedder: str) -> str:
    return settings.ENV.fastembed_model if embedder == "fastembed" else ""


def update_model_progress(row: EmbeddingModel, now: datetime) -> None:
    """Update the counts of all posts and of the posts with a vector of the model."""
    posts = Post.objects.filter(removed_at__isnull=True)
    embedded = posts.filter(embeddings__space=row.space, embeddings__embedding_model=row.name).count()
    EmbeddingModel.objects.filter(pk=row.pk).update(embedded_count=embedded, post_count=posts.count(), changed_at=now)


@write_transaction
def activate_embedding_model(row: EmbeddingModel, now: datetime) -> None:
    """
    Activate *row* and retire the active model of its space. Submits a rebuild of interests if one was replaced.

    Does nothing if another process has activated the model, or retired it because another one is configured.
    """
    lock_models(row.space)
    if not EmbeddingModel.objects.filter(pk=row.pk, state=ModelState.BUILDING).exists():
        return
    previous = EmbeddingModel.objects.filter(space=row.space, state=ModelState.ACTIVE)
    replaced = previous.update(state=ModelState.RETIRED, changed_at=now)
    EmbeddingModel.objects.filter(pk=row.pk).update(state=ModelState.ACTIVE, activated_at=now, changed_at=now)
    log.info("embedding_model_activated", extra={"space": row.space, "embedding_model": row.name})
    if replaced and row.space == CONTENT_SPACE:
        work.submit_job(kind=Job.Kind.REBUILD_INTERESTS, params={}, now=now)


def store_vectors(
    *,
    space: str,
    model: str,
    post_ids: Sequence[str],
    vectors: Float32Array | Float64Array,
    now: datetime,
    loader: str = SUPPLIED_LOADER,
) -> list[str]:
    """
    Store vectors (n, d) from the platform, or computed from pictures by *loader*. Return the unknown post ids.

    Vectors are scaled to unit length. The first model of a space is active at once, other models start as "building".
    Raises `VectorError`, and stores nothing, for a wrong shape, a dimension other than the model's, NaN, a number that
    is too large for float32, and for the content space, which EMBEDDER fills.
    """
    vectors = as_float32(vectors)
    validate_vectors(space, vectors, len(post_ids))
    unknown_ids = store_units(space, model, post_ids, normalize_rows(vectors), loader, now)
    task_queue.enqueue(task_queue.SYNC_VECTOR_INDEXES)
    return unknown_ids


def find_dimension(space: str, model: str) -> int | None:
    """Return the length of the vectors of a model, or None if the space has no such model."""
    return EmbeddingModel.objects.filter(space=space, name=model).values_list("dimension", flat=True).first()


@write_transaction
def store_units(
    space: str, model: str, post_ids: Sequence[str], units: Float32Array, loader: str, now: datetime
) -> list[str]:
    """Store vectors (n, d) of unit length. Return the unknown post ids."""
    posts = Post.objects.filter(external_id__in=post_ids)
    lock_posts(posts.values_list("pk", flat=True))
    row = register_supplied_model(space, model, loader, units.shape[1], now)
    pks = dict(posts.values_list("external_id", "pk"))
    positions = {pks[post_id]: position for position, post_id in enumerate(post_ids) if post_id in pks}
    previous = PostEmbedding.objects.filter(post__in=list(positions), space=space, embedding_model=model)
    versions = dict(previous.values_list("post_id", "version"))
    previous.delete()
    columns = {
        "post_id": list(positions),
        "vector": [units[position].astype("<f4").tobytes() for position in positions.values()],
        "version": [versions.get(pk, 0) + 1 for pk in positions],
    }
    constants = {"space": space, "embedding_model": model, "dimension": units.shape[1], "changed_at": now}
    insert_columns(PostEmbedding, columns, constants)
    update_model_progress(row, now)
    invalidate.invalidate_posts(list(positions))
    return [post_id for post_id in post_ids if post_id not in pks]


def validate_vectors(space: str, vectors: Float32Array, count: int) -> None:
    """Raise `VectorError` for a wrong space or shape, NaN or infinity."""
    if space == CONTENT_SPACE or not 0 < len(space) <= 16:
        raise VectorError(
            f"Name a space of 1 to 16 characters other than {CONTENT_SPACE!r}, which EMBEDDER fills, not {space!r}."
        )
    if vectors.ndim != 2 or len(vectors) != count:
        raise VectorError(f"Give one vector per post: got {count} posts and an array of shape {vectors.shape}.")
    if not 8 <= vectors.shape[1] <= 4096:
        raise VectorError(f"Give vectors of 8 to 4096 numbers, not {vectors.shape[1]}.")
    if invalid := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise VectorError(f"Vector {invalid[0]} contains NaN, infinity or a number above 3.4e38.")


def register_supplied_model(space: str, model: str, loader: str, dimension: int, now: datetime) -> EmbeddingModel:
    """Return the row of a model whose vectors are supplied, created if needed; a space's first model is active."""
    lock_models(space)
    is_first = not EmbeddingModel.objects.filter(space=space).exists()
    row, _ = EmbeddingModel.objects.get_or_create(
        space=space,
        name=model,
        defaults={
            "embedder": loader,
            "dimension": dimension,
            "state": ModelState.ACTIVE if is_first else ModelState.BUILDING,
            "activated_at": now if is_first else None,
            "created_at": now,
            "changed_at": now,
        },
    )
    if row.dimension != dimension:
        raise VectorError(f"The vectors of {model} have {row.dimension} numbers, not {dimension}.")
    return row
