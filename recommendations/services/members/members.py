"""Finds members to look at."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from recommendations.models import Interaction, Member
from recommendations.services.errors import UnknownMember


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """A member, with how much is known of them."""

    id: str
    interactions: int
    languages: list[str]
    is_active: bool


def find_members(*, prefix: str = "", limit: int = 20) -> list[MemberSummary]:
    """Return up to *limit* members whose id starts with *prefix*, those with known interests first, oldest first."""
    named = Member.objects.filter(external_id__startswith=prefix).order_by("id")
    found = list(named.filter(interests__isnull=False)[:limit])
    found += named.filter(interests__isnull=True)[: limit - len(found)]
    return summarize_members(found)


def read_member(*, member_id: str) -> MemberSummary:
    """Return one member, or raise `UnknownMember`."""
    found = summarize_members(list(Member.objects.filter(external_id=member_id)))
    if not found:
        raise UnknownMember(member_id)
    return found[0]


def get_member_pk(*, member_id: str) -> int:
    """Return the number that a member has in our own records, or raise `UnknownMember`."""
    number = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if number is None:
        raise UnknownMember(member_id)
    return number


def summarize_members(found: list[Member]) -> list[MemberSummary]:
    """Return these members, in their order."""
    # Counted for these few only: a count over everybody would read every interaction there is.
    counts = dict(
        Interaction.objects.filter(member__in=found)
        .order_by()
        .values_list("member")
        .annotate(n=Count("id"))
        .values_list("member", "n")
    )
    return [MemberSummary(m.external_id, counts.get(m.pk, 0), m.languages, m.is_active) for m in found]
