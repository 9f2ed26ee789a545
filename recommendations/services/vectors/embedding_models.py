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

from recommendations import jobs
from recommendations.contracts import Float32Array
from recommendations.models import EmbeddingModel, Job, Post, PostEmbedding
from recommendations.ports import Embedder, VectorError
from recommendations.services import invalidate, wiring, work
from recommendations.services.vectors.embedding import SPACE, Progress, due, embed_posts
from recommendations.stores.bulk import insert_columns

log = logging.getLogger(__name__)

State = EmbeddingModel.State
SUPPLIED = "supplied"
"""The loader of a model whose vectors the platform sends."""


def embed_due(*, now: datetime, progress: Progress | None = None) -> int:
    """
    Embed what is due by the active model and by the one that EMBEDDER asks for, which takes over once it is through.

    Return how many vectors were made.
    """
    wiring.follow_models(now, now_at_least=True)
    serving, wanted = wiring.embedder(), wiring.configured_embedder()
    done = embed_posts(embedder=serving, now=now, progress=progress)
    row = known(wanted, now)
    if row.state == State.ACTIVE:
        count_progress(row, now)
        if done:
            jobs.enqueue(jobs.FOLLOW_INDEX)
        return done
    if serving.name != wanted.name:
        done += embed_posts(embedder=wanted, now=now, progress=progress)
    count_progress(row, now)
    if not due(wanted.name, now).exists():
        activate(row, now)
    return done


def known(embedder: Embedder, now: datetime) -> EmbeddingModel:
    """Return the row of the model that EMBEDDER asks for, building if it was not known or was retired."""
    loads = {"embedder": settings.ENV.embedder, "option": option_of(settings.ENV.embedder)}
    row, _ = EmbeddingModel.objects.get_or_create(
        space=SPACE,
        name=embedder.name,
        defaults={**loads, "dimension": embedder.dimension, "created_at": now, "changed_at": now},
    )
    others = EmbeddingModel.objects.filter(space=SPACE, state=State.BUILDING).exclude(pk=row.pk)
    others.update(state=State.RETIRED, changed_at=now)
    if row.state == State.RETIRED:
        row.state, row.changed_at = State.BUILDING, now
        row.save()
    return row


def option_of(embedder: str) -> str:
    return settings.ENV.fastembed_model if embedder == "fastembed" else ""


def count_progress(row: EmbeddingModel, now: datetime) -> None:
    """Note how many posts have the model's vector."""
    live = Post.objects.filter(removed_at__isnull=True)
    done = live.filter(embeddings__space=row.space, embeddings__model=row.name).count()
    EmbeddingModel.objects.filter(pk=row.pk).update(done=done, total=live.count(), changed_at=now)


@transaction.atomic
def activate(row: EmbeddingModel, now: datetime) -> None:
    """Let *row* serve in place of the active model, and have interests learned anew if there was one."""
    before = EmbeddingModel.objects.select_for_update().filter(space=row.space, state=State.ACTIVE).exclude(pk=row.pk)
    replaced = before.update(state=State.RETIRED, changed_at=now)
    EmbeddingModel.objects.filter(pk=row.pk).update(state=State.ACTIVE, activated_at=now, changed_at=now)
    log.info("model_activated", extra={"space": row.space, "model": row.name})
    if replaced and row.space == SPACE:
        work.submit(kind=Job.Kind.REBUILD_INTERESTS, params={}, now=now)


def store_vectors(
    *,
    space: str,
    model: str,
    post_ids: Sequence[str],
    vectors: Float32Array,
    now: datetime,
    loader: str = SUPPLIED,
) -> list[str]:
    """
    Keep vectors (n, d) that the platform made, or *loader* did of pictures; return the post ids that we don't know.

    They are scaled to unit length. The first model of a space serves at once, any other when `activate_model` says so.
    Raises `VectorError` for a wrong shape, another dimension than the model's earlier ones, NaN or infinity; then
    nothing is kept. The content space is ours: its vectors come from EMBEDDER.
    """
    vectors = np.asarray(vectors, np.float32)
    checked_vectors(space, vectors, len(post_ids))
    with transaction.atomic():
        row = model_of(space, model, loader, vectors.shape[1], now)
        pks = dict(Post.objects.filter(external_id__in=post_ids).values_list("external_id", "pk"))
        places = {pks[post_id]: at for at, post_id in enumerate(post_ids) if post_id in pks}
        earlier = PostEmbedding.objects.filter(post__in=list(places), space=space, model=model)
        versions = dict(earlier.values_list("post_id", "version"))
        earlier.delete()
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        columns = {
            "post_id": list(places),
            "vector": [units[at].astype("<f4").tobytes() for at in places.values()],
            "version": [versions.get(pk, 0) + 1 for pk in places],
        }
        same = {"space": space, "model": model, "dimension": vectors.shape[1], "changed_at": now}
        insert_columns(PostEmbedding, columns, same)
        count_progress(row, now)
        invalidate.posts(list(places))
    jobs.enqueue(jobs.FOLLOW_INDEX)
    return [post_id for post_id in post_ids if post_id not in pks]


def checked_vectors(space: str, vectors: Float32Array, count: int) -> None:
    """Raise `VectorError` unless these can be kept."""
    if space == SPACE or not 0 < len(space) <= 16:
        raise VectorError(f"{space!r}: name a space of at most 16 characters, not {SPACE!r}, which EMBEDDER fills.")
    if vectors.ndim != 2 or len(vectors) != count:
        raise VectorError(f"Give one vector a post: {count} posts came with an array of shape {vectors.shape}.")
    if not 8 <= vectors.shape[1] <= 4096:
        raise VectorError(f"A vector has 8 to 4096 numbers, not {vectors.shape[1]}.")
    if wrong := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise VectorError(f"Vector {wrong[0]} holds NaN or infinity.")


def model_of(space: str, model: str, loader: str, dimension: int, now: datetime) -> EmbeddingModel:
    """Return the row of a model whose vectors come; the first of a space is active."""
    is_first = not EmbeddingModel.objects.filter(space=space).exists()
    row, _ = EmbeddingModel.objects.get_or_create(
        space=space,
        name=model,
        defaults={
            "embedder": loader,
            "dimension": dimension,
            "state": State.ACTIVE if is_first else State.BUILDING,
            "activated_at": now if is_first else None,
            "created_at": now,
            "changed_at": now,
        },
    )
    if row.dimension != dimension:
        raise VectorError(f"{model} has vectors of {row.dimension} numbers; these have {dimension}.")
    return row
