"""
The kinds of job: the function that processes a chunk of each, and their registration with `work`.

A function takes the claimed chunk, its item ids and the time. It returns one error for each item that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from django.db.models import QuerySet

from recommendations.models import Job, JobChunk, Member, Post
from recommendations.services import invalidate, wiring, work
from recommendations.services.errors import SERVER_ERRORS
from recommendations.services.learning import learn
from recommendations.services.members import erasure, export
from recommendations.services.serving.refresh import rebuild_slate
from recommendations.services.training import trained_models
from recommendations.services.vectors import reindexing
from recommendations.services.vectors.embedding import CONTENT_SPACE, embed_posts, posts_without_vector

log = logging.getLogger(__name__)


def process_each(
    items: Iterable[Any], process: Callable[[Any], object], item_id: Callable[[Any], int]
) -> list[dict[str, Any]]:
    """
    Process every item. An item that fails is logged and returned with its error; the others go on.

    Raises the error of a server that does not answer: it is not the item's, so the chunk is tried again.
    """
    errors = []
    for item in items:
        try:
            process(item)
        except (SoftTimeLimitExceeded, *SERVER_ERRORS):
            raise  # the first: the time of the whole chunk is over
        except Exception as error:
            log.exception("job_item_failed", extra={"member_id": item_id(item)})
            errors.append({"item_id": item_id(item), "problem": f"{type(error).__name__}: {error}"})
    return errors


def process_member_feeds(_chunk: JobChunk, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Build and cache a discovery slate for each active member."""
    wiring.catalogue().refresh(now)
    active = Member.objects.filter(pk__in=member_ids, is_active=True).order_by("pk").values_list("pk", flat=True)
    return process_each(active, lambda pk: rebuild_slate(pk, "discovery", now), int)


def process_embeddings(_chunk: JobChunk, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Embed these posts. A post that fails is recorded as an embedding failure and retried later."""
    embed_posts(embedder=wiring.embedder(), now=now, post_ids=post_ids)
    invalidate.invalidate_posts(post_ids)
    return []


def process_reindex(_chunk: JobChunk, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Bring these posts' entries in the vector index up to date."""
    reindexing.index_posts(space=CONTENT_SPACE, post_ids=post_ids)
    return []


def process_interest_rebuilds(_chunk: JobChunk, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Rebuild these members' interests: learn pending interactions, then the whole history."""
    learn.learn_interactions(member_ids=member_ids, now=now)
    return process_each(member_ids, lambda member_id: learn.rebuild_interests(member_id=member_id, now=now), int)


def process_member_exports(chunk: JobChunk, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Export all data on each member as a file of the job."""
    return process_each(member_ids, lambda pk: export.export_member(job_id=chunk.job_id, member_pk=pk, now=now), int)


def process_member_erasures(_chunk: JobChunk, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Erase members. If one cannot be erased, or Qdrant does not respond, the whole chunk is retried."""
    erasure.erase_members(member_ids=member_ids, now=now)
    return []


def process_post_erasures(_chunk: JobChunk, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Erase posts. If Qdrant does not respond, the chunk is retried."""
    erasure.erase_posts(post_ids=post_ids, now=now)
    reindexing.drop_erased_posts()
    return []


def accept_member_erasures(job: Job, member_ids: Sequence[int], now: datetime, submitter: str) -> None:
    """Hide the members, and write a receipt for each."""
    erasure.begin_erasures(member_ids=member_ids, job_id=job.pk, requested_by=submitter, now=now)


def accept_post_erasures(_job: Job, post_ids: Sequence[int], now: datetime, _submitter: str) -> None:
    """Hide the posts."""
    erasure.hide_posts(post_ids, now)


def refuse_training(_chunk: JobChunk, _kinds: Sequence[int], _now: datetime) -> list[dict[str, Any]]:
    """Raise an error. `recommendations/training_tasks.py`, which only the training worker imports, replaces this."""
    raise RuntimeError("Only the training worker can train a model: it imports SciPy.")


def active_members() -> QuerySet[Member]:
    """Return the members that a job processes if its request names none."""
    return Member.objects.filter(is_active=True)


def unembedded_posts() -> QuerySet[Post]:
    """Return the posts that have no vector of the active embedding model."""
    return posts_without_vector(wiring.embedder().name)


def embedded_posts() -> QuerySet[Post]:
    """Return the posts that have a vector of the active embedding model."""
    return Post.objects.filter(embeddings__space=CONTENT_SPACE, embeddings__embedding_model=wiring.embedder().name)


def register() -> None:
    """Register every kind of job."""
    kind = Job.Kind
    for job_kind in (
        work.JobKind(kind.BATCH_FEEDS, process_member_feeds, default_items=active_members),
        work.JobKind(kind.MEMBER_FEED, process_member_feeds, queue="interactive", priority=Job.Priority.HIGH),
        work.JobKind(kind.EMBED_POSTS, process_embeddings, items=Post, default_items=unembedded_posts),
        work.JobKind(kind.REINDEX, process_reindex, items=Post, default_items=embedded_posts, max_running=2),
        work.JobKind(kind.REBUILD_INTERESTS, process_interest_rebuilds, default_items=active_members),
        work.JobKind(kind.EXPORT_MEMBERS, process_member_exports, max_running=2),
        work.JobKind(
            kind.ERASE_MEMBERS,
            process_member_erasures,
            on_accept=accept_member_erasures,
            is_cancellable=False,
        ),
        work.JobKind(
            kind.ERASE_POSTS,
            process_post_erasures,
            items=Post,
            on_accept=accept_post_erasures,
            is_cancellable=False,
        ),
        # A training may use most of the machine's memory.
        work.JobKind(
            kind.TRAIN_MODEL, refuse_training, resolve=trained_models.resolve_kinds, queue="training", max_running=1
        ),
    ):
        work.register_kind(job_kind)
