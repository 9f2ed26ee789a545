"""Changes to posts and accounts, and what follows from them: catalogues follow `changed_at`, kept slates go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from recommendations.models import Member, Post
from recommendations.services import invalidate


def remove_posts(*, post_ids: Sequence[int], now: datetime) -> int:
    """Take these posts down. The last look keeps them out of every slate from the next request on."""
    removed = Post.objects.filter(pk__in=post_ids, removed_at=None).update(removed_at=now, changed_at=now)
    invalidate.invalidate_posts(post_ids)
    return removed


def restore_posts(*, post_ids: Sequence[int], now: datetime) -> int:
    """Put these posts up again."""
    restored = Post.objects.filter(pk__in=post_ids).exclude(removed_at=None).update(removed_at=None, changed_at=now)
    invalidate.invalidate_posts(post_ids)
    return restored


def set_members_active(*, member_ids: Sequence[int], is_active: bool, now: datetime) -> int:
    """Activate or deactivate accounts, and forget their slates."""
    changed = Member.objects.filter(pk__in=member_ids).update(is_active=is_active, changed_at=now)
    invalidate.invalidate_slates(*member_ids)
    return changed


def mark_changed(*, post_ids: Sequence[int] = (), member_ids: Sequence[int] = (), now: datetime) -> None:
    """Let every catalogue follow a change that was made elsewhere, and forget the slates of these members."""
    Post.objects.filter(pk__in=post_ids).update(changed_at=now)
    invalidate.invalidate_posts(post_ids)
    Member.objects.filter(pk__in=member_ids).update(changed_at=now)
    invalidate.invalidate_slates(*member_ids)
