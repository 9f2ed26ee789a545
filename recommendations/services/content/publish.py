"""Change the status of posts and accounts. Catalogues refresh rows by `changed_at`; cached slates are invalidated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from monitoring.transactions import write_transaction
from recommendations.models import ErasureReceipt, Member, Post
from recommendations.services import invalidate
from recommendations.stores.row_locks import lock_members, lock_posts


@write_transaction
def remove_posts(*, post_ids: Sequence[int], now: datetime) -> int:
    """Remove the posts: the final check drops them from the next request on. Return how many changed."""
    lock_posts(post_ids)
    removed = Post.objects.filter(pk__in=post_ids, removed_at=None).update(removed_at=now, changed_at=now)
    invalidate.invalidate_posts(post_ids)
    return removed


@write_transaction
def restore_posts(*, post_ids: Sequence[int], now: datetime) -> int:
    """Restore removed posts. Return how many changed."""
    lock_posts(post_ids)
    restored = Post.objects.filter(pk__in=post_ids).exclude(removed_at=None).update(removed_at=None, changed_at=now)
    invalidate.invalidate_posts(post_ids)
    return restored


@write_transaction
def set_members_active(*, member_ids: Sequence[int], is_active: bool, now: datetime) -> int:
    """Activate or deactivate accounts, except those being erased, and invalidate their slates. Return how many."""
    lock_members(member_ids)
    members = Member.objects.filter(pk__in=member_ids)
    if is_active:
        members = members.exclude(pk__in=ErasureReceipt.objects.filter(finished_at=None).values("member_number"))
    changed = members.update(is_active=is_active, changed_at=now)
    invalidate.invalidate_slates(*member_ids)
    return changed


@write_transaction
def mark_changed(*, post_ids: Sequence[int] = (), member_ids: Sequence[int] = (), now: datetime) -> None:
    """Mark posts and members as changed, so that catalogues reload them, and invalidate the members' slates."""
    lock_members(member_ids)
    lock_posts(post_ids)
    Post.objects.filter(pk__in=post_ids).update(changed_at=now)
    invalidate.invalidate_posts(post_ids)
    Member.objects.filter(pk__in=member_ids).update(changed_at=now)
    invalidate.invalidate_slates(*member_ids)
