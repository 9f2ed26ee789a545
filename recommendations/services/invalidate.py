"""
Invalidate cached data after a change, for every process. All invalidation goes through this module.

Invalidation only makes the next page better; it does not protect anything. The final check tests every slate served
against rows read at that moment, and a profile is used only if its version is that of its row in the same request.
So an invalidation that is lost leaks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from recommendations.services import wiring
from recommendations.stores import change_log


def invalidate_slates(*member_ids: int) -> None:
    """Purge these members' slates on commit: after a change of privacy, consent, blocks, mutes or account status."""
    transaction.on_commit(lambda: wiring.slate_cache().purge(member_ids))


def evict_members(*member_ids: int) -> None:
    """Remove everything that a cache holds of these members, on commit: after an erasure or a reset of their data."""
    invalidate_slates(*member_ids)
    transaction.on_commit(lambda: wiring.served_history().remove(member_ids))
    transaction.on_commit(lambda: wiring.slate_cache().remove_served(member_ids))
    transaction.on_commit(lambda: wiring.resident_profiles().evict(member_ids))


def invalidate_all_slates() -> None:
    """Purge the slates of all members now: after an engine was turned off or found to be wrong."""
    wiring.slate_cache().purge_all()
    change_log.invalidate_all_processes()


def retire_slates(member_ids: Sequence[int]) -> None:
    """Retire these members' slates, which remain as last good slates: after a committed change of their interests."""
    wiring.slate_cache().retire(member_ids)


def invalidate_posts(post_ids: Sequence[int]) -> None:
    """
    Invalidate what the caches hold of these posts, on commit: after they were deleted, removed, restored, edited or
    embedded.

    Removes their cached vectors and marks them as changed in the neighbor cache, which then scores them again. Slates
    need no invalidation: they hold only post ids, and the final check drops a removed post from the next request on.
    """
    transaction.on_commit(lambda: wiring.post_vector_cache().remove(post_ids))
    transaction.on_commit(lambda: wiring.neighbor_cache().mark_changed(post_ids))
