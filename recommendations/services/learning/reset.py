"""Deletes what was learned of a member."""

from __future__ import annotations

from datetime import datetime

from recommendations.contracts import Subject
from recommendations.models import FeedInputs, InterestProfile, LessOf, Member
from recommendations.services import invalidate


def forget_taste(member_pk: int, now: datetime) -> None:
    """Delete what was learned of the member, and learn from no act before *now*."""
    Member.objects.filter(pk=member_pk).update(taste_since=now)
    InterestProfile.objects.filter(member=member_pk).delete()
    FeedInputs.objects.filter(request__member=member_pk).delete()
    LessOf.objects.filter(member=member_pk).exclude(subject=Subject.POST).delete()
    invalidate.forgotten(member_pk)
