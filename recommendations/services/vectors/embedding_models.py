"""
Models come and go, and no feed notices: a new one embeds every post in the background, then serves at once.

The old one serves until then, and new posts get the vectors of both. Vectors of different models are never compared:
members' interests are learned anew, from their history, right after the switch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from django.conf import settings
from django.db import transaction

from recommendations import task_queue
from recommendations.contracts import Float32Array
from recommendations.models import EmbeddingModel, Job, Post, PostEmbedding
from recommendations.ports import Embedder, VectorError
from recommendations.services import invalidate, wiring, work
from recommendations.services.vectors.embedding import CONTENT_SPACE, Progress, embed_posts, posts_due
from recommendations.stores.bulk import insert_columns

log = logging.getLogger(__name__)

ModelState = EmbeddingModel.State
SUPPLIED_LOADER = "supplied"
"""The loader of a model whose vectors the platform sends."""


def embed_due_posts(*, now: datetime, progress: Progress | None = None) -> int:
    """
    Embed what is due by the active model and by the one that EMBEDDER asks for, which takes over once it is through.

    Return how many vectors were made.
    """
    wiring.sync_embedding_models(now, must_be_current=True)
    serving, wanted = wiring.embedder(), wiring.configured_embedder()
    done = embed_posts(embedder=serving, now=now, progress=progress)
    row = register_configured_model(wanted, now)
    if row.state == ModelState.ACTIVE:
        update_model_progress(row, now)
        if done:
            task_queue.enqueue(task_queue.SYNC_VECTOR_INDEXES)
        return done
    if serving.name != wanted.name:
        done += embed_posts(embedder=wanted, now=now, progress=progress)
    update_model_progress(row, now)
    if not posts_due(wanted.name, now).exists():
        activate_embedding_model(row, now)
    return done


def register_configured_model(embedder: Embedder, now: datetime) -> EmbeddingModel:
    """Return the row of the model that EMBEDDER asks for, building if it was not known or was retired."""
    loads = {"embedder": settings.ENV.embedder, "option": embedder_option(settings.ENV.embedder)}
    row, _ = EmbeddingModel.objects.get_or_create(
        space=CONTENT_SPACE,
        name=embedder.name,
        defaults={**loads, "dimension": embedder.dimension, "created_at": now, "changed_at": now},
    )
    others = EmbeddingModel.objects.filter(space=CONTENT_SPACE, state=ModelState.BUILDING).exclude(pk=row.pk)
    others.update(state=ModelState.RETIRED, changed_at=now)
    if row.state == ModelState.RETIRED:
        row.state, row.changed_at = ModelState.BUILDING, now
        row.save()
    return row


def embedder_option(embedder: str) -> str:
    return settings.ENV.fastembed_model if embedder == "fastembed" else ""


def update_model_progress(row: EmbeddingModel, now: datetime) -> None:
    """Note how many posts have the model's vector."""
    live = Post.objects.filter(removed_at__isnull=True)
    done = live.filter(embeddings__space=row.space, embeddings__embedding_model=row.name).count()
    EmbeddingModel.objects.filter(pk=row.pk).update(embedded_count=done, post_count=live.count(), changed_at=now)


@transaction.atomic
def activate_embedding_model(row: EmbeddingModel, now: datetime) -> None:
    """Let *row* serve in place of the active model, and have interests learned anew if there was one."""
    before = (
        EmbeddingModel.objects.select_for_update().filter(space=row.space, state=ModelState.ACTIVE).exclude(pk=row.pk)
    )
    replaced = before.update(state=ModelState.RETIRED, changed_at=now)
    EmbeddingModel.objects.filter(pk=row.pk).update(state=ModelState.ACTIVE, activated_at=now, changed_at=now)
    log.info("model_activated", extra={"space": row.space, "model": row.name})
    if replaced and row.space == CONTENT_SPACE:
        work.submit_job(kind=Job.Kind.REBUILD_INTERESTS, params={}, now=now)


def store_vectors(
    *,
    space: str,
    model: str,
    post_ids: Sequence[str],
    vectors: Float32Array,
    now: datetime,
    loader: str = SUPPLIED_LOADER,
) -> list[str]:
    """
    Keep vectors (n, d) that the platform made, or *loader* did of pictures; return the post ids that we don't know.

    They are scaled to unit length. The first model of a space serves at once, any other when `activate_model` says so.
    Raises `VectorError` for a wrong shape, another dimension than the model's earlier ones, NaN or infinity; then
    nothing is kept. The content space is ours: its vectors come from EMBEDDER.
    """
    vectors = np.asarray(vectors, np.float32)
    validate_vectors(space, vectors, len(post_ids))
    with transaction.atomic():
        row = register_supplied_model(space, model, loader, vectors.shape[1], now)
        pks = dict(Post.objects.filter(external_id__in=post_ids).values_list("external_id", "pk"))
        places = {pks[post_id]: at for at, post_id in enumerate(post_ids) if post_id in pks}
        earlier = PostEmbedding.objects.filter(post__in=list(places), space=space, embedding_model=model)
        versions = dict(earlier.values_list("post_id", "version"))
        earlier.delete()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        columns = {
            "post_id": list(places),
            "vector": [units[at].astype("<f4").tobytes() for at in places.values()],
            "version": [versions.get(pk, 0) + 1 for pk in places],
        }
        same = {"space": space, "embedding_model": model, "dimension": vectors.shape[1], "changed_at": now}
        insert_columns(PostEmbedding, columns, same)
        update_model_progress(row, now)
        invalidate.invalidate_posts(list(places))
    task_queue.enqueue(task_queue.SYNC_VECTOR_INDEXES)
    return [post_id for post_id in post_ids if post_id not in pks]


def validate_vectors(space: str, vectors: Float32Array, count: int) -> None:
    """Raise `VectorError` unless these can be kept."""
    if space == CONTENT_SPACE or not 0 < len(space) <= 16:
        raise VectorError(
            f"{space!r}: name a space of at most 16 characters, not {CONTENT_SPACE!r}, which EMBEDDER fills."
        )
    if vectors.ndim != 2 or len(vectors) != count:
        raise VectorError(f"Give one vector a post: {count} posts came with an array of shape {vectors.shape}.")
    if not 8 <= vectors.shape[1] <= 4096:
        raise VectorError(f"A vector has 8 to 4096 numbers, not {vectors.shape[1]}.")
    if wrong := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise VectorError(f"Vector {wrong[0]} holds NaN or infinity.")


def register_supplied_model(space: str, model: str, loader: str, dimension: int, now: datetime) -> EmbeddingModel:
    """Return the row of a model whose vectors come; the first of a space is active."""
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
        raise VectorError(f"{model} has vectors of {row.dimension} numbers; these have {dimension}.")
    return row
