"""
Writes a member's profile as a file that another platform, or this one, can take in.

What is kept is written as it is, without a check of the form: a row that is odd must not cost a member their file.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from recommendations.models import InterestProfile, LessOf, Member, Relationship, Seen
from recommendations.services.members.preferences import KINDS, member_of, read_preferences
from recommendations.services.members.profile_file import form


def export_profile(*, member_id: str, now: datetime) -> dict[str, Any]:
    """Return the profile as JSON holds it. Raises `UnknownMember`."""
    member = member_of(member_id)
    left_out: dict[str, int] = {}
    made = form.ProfileFile(
        format=form.FORMAT,
        version=form.VERSION,
        member_id=member.external_id,
        exported_at=now,
        preferences=form.Wanted.model_construct(**asdict(read_preferences(member_id=member_id))),
        ties=form.Ties(**{kind: others(member, kind, left_out) for kind in KINDS}),
        less_of=wishes(member, left_out),
        interests=learned(member),
        seen=seen(member, left_out),
        left_out=form.LeftOut(**left_out),
    )
    return made.model_dump(mode="json")


def newest(found: Any, most: int, name: str, left_out: dict[str, int]) -> list[Any]:
    """Return up to *most* of the rows, and note how many more there are."""
    left_out[name] = max(0, found.count() - most)
    return list(found[:most])


def others(member: Member, kind: str, left_out: dict[str, int]) -> list[str]:
    """Return the ids of those whom the member follows, blocks or mutes, newest first."""
    ties = Relationship.objects.filter(source=member, kind=kind).order_by("-created_at", "-pk")
    return newest(ties.values_list("target__external_id", flat=True), form.MOST_TIES, kind, left_out)


def wishes(member: Member, left_out: dict[str, int]) -> list[form.Wish]:
    """Return what the member wants less of, newest first."""
    rows = LessOf.objects.filter(member=member).order_by("-created_at", "-pk")
    columns = rows.values_list("subject", "post__external_id", "event_id", "created_at")
    names = ("subject", "post_id", "event_id", "created_at")
    found = newest(columns, form.MOST_WISHES, "less_of", left_out)
    return [form.Wish(**dict(zip(names, row, strict=True))) for row in found]


def seen(member: Member, left_out: dict[str, int]) -> list[form.SeenPost]:
    """Return the posts that the member saw last."""
    rows = Seen.objects.filter(member=member).order_by("-seen_at", "-pk").values_list("post__external_id", "seen_at")
    found = newest(rows, form.MOST_SEEN, "seen", left_out)
    return [form.SeenPost(post_id=post_id, seen_at=seen_at) for post_id, seen_at in found]


def learned(member: Member) -> form.Learned | None:
    """Return the member's interests, authors by the platform's ids; without the last half hour, which is soon over."""
    row = InterestProfile.objects.filter(member=member).first()
    if row is None:
        return None
    authors = row.affinities.get("author", {})
    names = dict(Member.objects.filter(pk__in=map(int, authors)).values_list("pk", "external_id"))
    return form.Learned.model_construct(
        model=row.model,
        dimension=row.dimension,
        positive=form.encoded(row.positive),
        positive_mass=form.encoded(row.positive_mass),
        negative=form.encoded(row.negative),
        negative_mass=form.encoded(row.negative_mass),
        affinities=form.Affinities(
            author={names[int(pk)]: value for pk, value in authors.items() if int(pk) in names},
            topic=row.affinities.get("topic", {}),
            format=row.affinities.get("format", {}),
        ),
        reference_at=row.reference_at,
        interactions=row.interactions,
    )
