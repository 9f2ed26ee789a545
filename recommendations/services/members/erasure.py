"""
Erase members and posts from every place that holds their data (docs/privacy.md lists the places).

A member or post to be erased is hidden from the next request on. A job erases the data afterwards. Erasing is
idempotent, so a job whose worker was killed can start again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from flags.experiments.privacy import erase_unit_exposures
from flags.services import erasure
from monitoring.transactions import write_transaction
from recommendations.models import ErasedPost, Job, Member, Post
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts, set_members_active
from recommendations.services.learning import histories
from recommendations.stores.row_locks import lock_members, lock_posts, lock_rows

ERASED_ID_RETENTION = timedelta(days=7)
"""How long the primary keys of erased posts are stored: longer than any process goes without a catalogue refresh."""
BATCH_POSTS = 500


def hide_members(member_ids: Sequence[int], now: datetime) -> None:
    """Hide the members and all their posts from every viewer."""
    set_members_active(member_ids=member_ids, is_active=False, now=now)


def hide_posts(post_ids: Sequence[int], now: datetime) -> None:
    """Hide the posts from every viewer."""
    remove_posts(post_ids=post_ids, now=now)


def erase_members(*, member_ids: Sequence[int], now: datetime) -> None:
    """Erase the members with their posts, interactions, relationships, interests and served pages."""
    for member in Member.objects.filter(pk__in=member_ids):
        post_ids = list(Post.objects.filter(author=member).order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(post_ids), BATCH_POSTS):
            erase_posts(post_ids=post_ids[start : start + BATCH_POSTS], now=now)
        delete_member(member, now)


@write_transaction
def delete_member(member: Member, now: datetime) -> None:
    """Delete a member with everything that refers to the member."""
    erasure.erase_unit_from_segments(unit_id=member.external_id, now=now)
    erase_unit_exposures(unit_id=member.external_id)
    lock_members([member.pk])
    remove_from_job_params(member.external_id, "member_ids")
    Member.objects.filter(pk=member.pk).delete()
    invalidate.evict_members(member.pk)


@write_transaction
def erase_posts(*, post_ids: Sequence[int], now: datetime) -> None:
    """Erase the posts, their vectors and all interactions with them. Every process then evicts them from memory."""
    histories.forget_posts(post_ids)
    lock_posts(post_ids)
    ErasedPost.objects.filter(erased_at__lt=now - ERASED_ID_RETENTION).delete()
    posts = Post.objects.filter(pk__in=post_ids)
    for external_id in posts.values_list("external_id", flat=True):
        remove_from_job_params(external_id, "post_ids")
    ErasedPost.objects.bulk_create(
        [ErasedPost(post_id=pk, erased_at=now) for pk in posts.values_list("pk", flat=True)], ignore_conflicts=True
    )
    posts.delete()
    invalidate.invalidate_posts(post_ids)
    for space in wiring.vector_parts_holder().current.embedding_models:
        if index := wiring.vector_index(space):
            transaction.on_commit(lambda index=index: index.drop(sorted(post_ids)))  # type: ignore[misc]


def remove_from_job_params(external_id: str, parameter: str) -> None:
    """Remove an id from the stored parameters of all jobs."""
    jobs = Job.objects.filter(params__has_key=parameter)
    lock_rows(Job, jobs.values_list("pk", flat=True))
    for job in jobs.iterator():
        if external_id in job.params[parameter]:
            remaining = [id for id in job.params[parameter] if id != external_id]
            Job.objects.filter(pk=job.pk).update(params=job.params | {parameter: remaining})
