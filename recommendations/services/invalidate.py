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


def members(*member_ids: int) -> None:
    """Forget these members' slates once the change is in the database: privacy, consent, blocks, mutes, standing."""
    transaction.on_commit(lambda: wiring.slates().purge(member_ids))


def forgotten(*member_ids: int) -> None:
    """Forget whatever a cache holds of these members, once they are erased or want to start anew."""
    members(*member_ids)
    transaction.on_commit(lambda: wiring.served().forget(member_ids))
    transaction.on_commit(lambda: wiring.tastes().forget(member_ids))


def every_slate() -> None:
    """Forget everybody's slates at once: an engine was turned off, or is not to be trusted."""
    wiring.slates().purge_all()
    change_log.forget_everywhere()


def learned(member_ids: Sequence[int]) -> None:
    """Serve these members' slates no more, but as the last good one: their taste is another, in the database."""
    wiring.slates().retire(member_ids)


def posts(post_ids: Sequence[int]) -> None:
    """
    Forget these posts' vectors once the change is in the database: deleted, taken down or put back, reworded, embedded.

    In what is kept of vector queries they are looked at again.

    Slates hold a post's id only, and the last look keeps it out of them from the next request on.
    """
    transaction.on_commit(lambda: wiring.post_vectors().forget(post_ids))
    transaction.on_commit(lambda: wiring.neighbours().changed(post_ids))
