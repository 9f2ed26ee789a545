"""Delete what was learned about a member."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from recommendations.contracts import FeedbackTarget
from recommendations.models import FeedInputs, InterestProfile, Member, NegativeFeedback, ReactionHistory
from recommendations.services import invalidate


def forget_author(author_pk: int) -> None:
    """Remove an author who is being erased from the affinities of the other members."""
    key = str(author_pk)
    profiles = InterestProfile.objects.filter(affinities__author__has_key=key).order_by("pk")
    for member_pk in list(profiles.values_list("pk", flat=True)):
        with transaction.atomic():
            # Learning locks the member's row before it reads the profile.
            list(Member.objects.select_for_update(no_key=True).filter(pk=member_pk).values_list("pk"))
            for profile in profiles.filter(pk=member_pk):
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
