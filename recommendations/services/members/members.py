"""Find members and summarize them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from recommendations.models import Interaction, Member
from recommendations.services.errors import UnknownMember


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """A member, with the number of their interactions."""

    id: str
    interaction_count: int
    languages: list[str]
    is_active: bool


def find_members(*, prefix: str = "", limit: int = 20) -> list[MemberSummary]:
    """Return up to *limit* members whose id starts with *prefix*: those with learned interests first, then by age."""
    matches = Member.objects.filter(external_id__startswith=prefix).order_by("id")
    members = list(matches.filter(interests__isnull=False)[:limit])
    members += matches.filter(interests__isnull=True)[: limit - len(members)]
    return summarize_members(members)


def read_member(*, member_id: str) -> MemberSummary:
    """Return the member. Raises `UnknownMember`."""
    summaries = summarize_members(list(Member.objects.filter(external_id=member_id)))
    if not summaries:
        raise UnknownMember(member_id)
    return summaries[0]


def get_member_pk(*, member_id: str) -> int:
    """Return the primary key of the member with this platform id. Raises `UnknownMember`."""
    pk = Member.objects.filter(external_id=member_id).values_list("pk", flat=True).first()
    if pk is None:
        raise UnknownMember(member_id)
    return pk


def summarize_members(members: list[Member]) -> list[MemberSummary]:
    """Return a summary of each member, in order."""
    # Count for these members only: a count over all members would read every interaction.
    counts = dict(
        Interaction.objects.filter(member__in=members)
        .order_by()
        .values_list("member")
        .annotate(n=Count("id"))
        .values_list("member", "n")
    )
    return [MemberSummary(m.external_id, counts.get(m.pk, 0), m.languages, m.is_active) for m in members]
