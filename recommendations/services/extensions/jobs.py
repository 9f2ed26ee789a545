"""
The kinds of job: the function that processes a chunk of each, and their registration with `work`.

A function takes the job's id, item ids and the time. It returns one error for each item that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from recommendations.models import Job, Member, Post
from recommendations.services import invalidate, wiring, work
from recommendations.services.learning import learn
from recommendations.services.members import erasure, export
from recommendations.services.serving.refresh import rebuild_slate
from recommendations.services.vectors import reindexing
from recommendations.services.vectors.embedding import SPACE, embed_posts, lacking

log = logging.getLogger(__name__)


def each(items: Iterable[Any], do: Callable[[Any], object], name: Callable[[Any], int]) -> list[dict[str, Any]]:
    """Do every item; one that fails costs itself, and is named with what went wrong."""
    errors = []
    for item in items:
        try:
            do(item)
        except Exception as error:
            log.exception("item_failed", extra={"member_id": name(item)})
            errors.append({"item": name(item), "problem": f"{type(error).__name__}: {error}"})
    return errors


def feeds_of(_job: UUID, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Make and keep a discovery feed for each member."""
    wiring.catalogue().refresh(now)
    active = Member.objects.filter(pk__in=member_ids, is_active=True).order_by("pk").values_list("pk", flat=True)
    return each(active, lambda pk: rebuild_slate(pk, "discovery", now), int)


def embeddings_of(_job: UUID, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Embed these posts; those that fail by themselves are noted as failures, to be tried again."""
    embed_posts(embedder=wiring.embedder(), now=now, post_ids=post_ids)
    invalidate.posts(post_ids)
    return []


def index_of(_job: UUID, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Bring these posts' entries in the vector index up to date."""
    reindexing.index_posts(space=SPACE, post_ids=post_ids)
    return []


def interests_of(_job: UUID, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Learn these members' interests anew: what is pending, then all of the history."""
    learn.learn(member_ids=member_ids, now=now)
    return each(member_ids, lambda member_id: learn.rebuild(member_id=member_id, now=now), int)


def exports_of(job: UUID, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Keep all that is held about each member as a file of the job."""
    return each(member_ids, lambda pk: export.export_member(job_id=job, member_pk=pk, now=now), int)


def erase_members(_job: UUID, member_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Erase members; if one cannot be, the chunk is tried again as a whole."""
    erasure.erase_members(member_ids=member_ids, now=now)
    return []


def erase_posts(_job: UUID, post_ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Erase posts."""
    erasure.erase_posts(post_ids=post_ids, now=now)
    return []


def active_members() -> QuerySet[Member]:
    """Return the members that a job processes if its request names none."""
    return Member.objects.filter(is_active=True)


def posts_without_vector() -> QuerySet[Post]:
    """Return the posts that have no vector of the active embedding model."""
    return lacking(wiring.embedder().name)


def embedded_posts() -> QuerySet[Post]:
    """Return the posts that have a vector of the active embedding model."""
    return Post.objects.filter(embeddings__space=SPACE, embeddings__model=wiring.embedder().name)


def register() -> None:
    """Register every kind of job."""
    kind = Job.Kind
    for job_kind in (
        work.JobKind(kind.BATCH_FEEDS, feeds_of, default_items=active_members),
        work.JobKind(kind.MEMBER_FEED, feeds_of, queue="interactive"),
        work.JobKind(kind.EMBED_POSTS, embeddings_of, items=Post, default_items=posts_without_vector),
        work.JobKind(kind.REINDEX, index_of, items=Post, default_items=embedded_posts),
        work.JobKind(kind.REBUILD_INTERESTS, interests_of, default_items=active_members),
        work.JobKind(kind.EXPORT_MEMBERS, exports_of),
        work.JobKind(kind.ERASE_MEMBERS, erase_members, on_accept=erasure.begin_members),
        work.JobKind(kind.ERASE_POSTS, erase_posts, items=Post, on_accept=erasure.begin_posts),
    ):
        work.register_kind(job_kind)
