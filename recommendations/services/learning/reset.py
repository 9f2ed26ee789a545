"""Delete what was learned about a member."""

from __future__ import annotations

from datetime import datetime

from monitoring.transactions import write_transaction
from recommendations.contracts import FeedbackTarget
from recommendations.models import FeedInputs, InterestProfile, Member, NegativeFeedback, ReactionHistory
from recommendations.services import invalidate
from recommendations.stores.row_locks import lock_members


def forget_author(author_pk: int) -> None:
    """Remove an author who is being erased, and has no posts left, from the affinities of the other members."""
    profiles = InterestProfile.objects.filter(affinities__author__has_key=str(author_pk))
    for member_pk in list(profiles.values_list("pk", flat=True)):
        remove_author(member_pk, str(author_pk))


@write_transaction
def remove_author(member_pk: int, key: str) -> None:
    """Remove an author from the affinities of one member."""
    lock_members([member_pk])
    for profile in InterestProfile.objects.filter(pk=member_pk, affinities__author__has_key=key):
        del profile.affinities["author"][key]
        profile.save(update_fields=["affinities"])


def delete_learned_interests(member_pk: int, now: datetime) -> None:
    """Delete everything learned about the member. Interactions before *now* are never learned again."""
    Member.objects.filter(pk=member_pk).update(interests_reset_at=now)
    InterestProfile.objects.filter(member=member_pk).delete()
    ReactionHistory.objects.filter(member=member_pk).delete()
    FeedInputs.objects.filter(request__member=member_pk).delete()
    NegativeFeedback.objects.filter(member=member_pk).exclude(target=FeedbackTarget.POST).delete()
    invalidate.evict_members(member_pk)
