"""
Erase members and posts: what is known of them goes from every place that it is kept in (docs/privacy.md lists them).

It begins at once: what is asked to be erased is shown to nobody from the next request on. A job does the rest. Done
twice it does nothing the second time, so that a worker may be killed in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from flags.experiments.privacy import erase_unit_exposures
from flags.services import erasure
from recommendations.models import ErasedPost, Job, Member, Post
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts, set_members_active

ERASED_ID_RETENTION = timedelta(days=7)
"""How long the numbers of erased posts are kept: longer than any process goes without following the catalogue."""
BATCH_POSTS = 500


def hide_members(member_ids: Sequence[int], now: datetime) -> None:
    """Hide these members, and all they wrote, from everybody."""
    set_members_active(member_ids=member_ids, is_active=False, now=now)


def hide_posts(post_ids: Sequence[int], now: datetime) -> None:
    """Hide these posts from everybody."""
    remove_posts(post_ids=post_ids, now=now)


def erase_members(*, member_ids: Sequence[int], now: datetime) -> None:
    """Erase these members, their posts, acts, ties and tastes, and what was recorded of what they were shown."""
    for member in Member.objects.filter(pk__in=member_ids):
        own = list(Post.objects.filter(author=member).order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(own), BATCH_POSTS):
            erase_posts(post_ids=own[start : start + BATCH_POSTS], now=now)
        with transaction.atomic():
            erase_unit_exposures(unit_id=member.external_id)
            erasure.erase_unit_from_segments(unit_id=member.external_id, now=now)
            remove_from_job_params(member.external_id, "member_ids")
            pk = member.pk
            member.delete()
            invalidate.evict_members(pk)


@transaction.atomic
def erase_posts(*, post_ids: Sequence[int], now: datetime) -> None:
    """Erase these posts, their vectors and what others did with them; every process drops them from memory."""
    ErasedPost.objects.filter(erased_at__lt=now - ERASED_ID_RETENTION).delete()
    found = Post.objects.filter(pk__in=post_ids)
    for external_id in found.values_list("external_id", flat=True):
        remove_from_job_params(external_id, "post_ids")
    ErasedPost.objects.bulk_create(
        [ErasedPost(post_id=pk, erased_at=now) for pk in found.values_list("pk", flat=True)], ignore_conflicts=True
    )
    found.delete()
    invalidate.invalidate_posts(post_ids)
    for space in wiring.vector_parts_holder().current.embedding_models:
        if index := wiring.vector_index(space):
            transaction.on_commit(lambda index=index: index.drop(sorted(post_ids)))  # type: ignore[misc]


def remove_from_job_params(external_id: str, parameter: str) -> None:
    """Take an id out of the parameters that jobs were asked for with."""
    for job in Job.objects.filter(params__has_key=parameter).iterator():
        if external_id in job.params[parameter]:
            kept = [id for id in job.params[parameter] if id != external_id]
            Job.objects.filter(pk=job.pk).update(params=job.params | {parameter: kept})
