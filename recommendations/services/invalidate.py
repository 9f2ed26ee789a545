"""
What a change makes untrue in the caches, forgotten at once and for every process: the one way to say so.

A purge is a kindness to the next reader, not the guard: every slate served is looked at again on rows read at that
moment, and a taste is used only by the version that its row has in that request. A purge that is lost leaks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from recommendations.services import wiring
from recommendations.stores import change_log


def invalidate_slates(*member_ids: int) -> None:
    """Forget these members' slates once the change is in the database: privacy, consent, blocks, mutes, standing."""
    transaction.on_commit(lambda: wiring.slate_cache().purge(member_ids))


def evict_members(*member_ids: int) -> None:
    """Forget whatever a cache holds of these members, once they are erased or want to start anew."""
    invalidate_slates(*member_ids)
    transaction.on_commit(lambda: wiring.served_history().remove(member_ids))
    transaction.on_commit(lambda: wiring.resident_profiles().evict(member_ids))


def invalidate_all_slates() -> None:
    """Forget everybody's slates at once: an engine was turned off, or is not to be trusted."""
    wiring.slate_cache().purge_all()
    change_log.invalidate_all_processes()


def retire_slates(member_ids: Sequence[int]) -> None:
    """Serve these members' slates no more, but as the last good one: their taste is another, in the database."""
    wiring.slate_cache().retire(member_ids)


def invalidate_posts(post_ids: Sequence[int]) -> None:
    """
    Forget these posts' vectors once the change is in the database: deleted, taken down or put back, reworded, embedded.

    In what is kept of vector queries they are looked at again.

    Slates hold a post's id only, and the last look keeps it out of them from the next request on.
    """
    transaction.on_commit(lambda: wiring.post_vector_cache().remove(post_ids))
    transaction.on_commit(lambda: wiring.neighbor_cache().mark_changed(post_ids))
