"""
Writes a member's profile as a file that another platform, or this one, can take in.

What is kept is written as it is, without a check of the form: a row that is odd must not cost a member their file.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from recommendations.models import InterestProfile, Member, NegativeFeedback, Relationship, SeenPost
from recommendations.services.members.preferences import RELATIONSHIP_KINDS, get_member, read_preferences
from recommendations.services.members.profile_file import schema


def export_profile(*, member_id: str, now: datetime) -> dict[str, Any]:
    """Return the profile as JSON holds it. Raises `UnknownMember`."""
    member = get_member(member_id)
    omitted: dict[str, int] = {}
    made = schema.ProfileFile(
        format=schema.FORMAT_NAME,
        version=schema.FORMAT_VERSION,
        member_id=member.external_id,
        exported_at=now,
        preferences=schema.ProfilePreferences.model_construct(**asdict(read_preferences(member_id=member_id))),
        relationships=schema.ProfileRelationships(
            **{kind: export_relationships(member, kind, omitted) for kind in RELATIONSHIP_KINDS}
        ),
        negative_feedback=export_negative_feedback(member, omitted),
        interests=export_learned_interests(member),
        seen=export_seen(member, omitted),
        omitted=schema.OmittedCounts(**omitted),
    )
    return made.model_dump(mode="json")


def take_newest(found: Any, limit: int, name: str, omitted: dict[str, int]) -> list[Any]:
    """Return up to *most* of the rows, and note how many more there are."""
    omitted[name] = max(0, found.count() - limit)
    return list(found[:limit])


def export_relationships(member: Member, kind: str, omitted: dict[str, int]) -> list[str]:
    """Return the ids of those whom the member follows, blocks or mutes, newest first."""
    ties = Relationship.objects.filter(source=member, kind=kind).order_by("-created_at", "-pk")
    return take_newest(ties.values_list("target__external_id", flat=True), schema.MAX_RELATIONSHIPS, kind, omitted)


def export_negative_feedback(member: Member, omitted: dict[str, int]) -> list[schema.ProfileFeedback]:
    """Return what the member wants less of, newest first."""
    rows = NegativeFeedback.objects.filter(member=member).order_by("-created_at", "-pk")
    columns = rows.values_list("target", "post__external_id", "event_id", "created_at")
    names = ("target", "post_id", "event_id", "created_at")
    found = take_newest(columns, schema.MAX_NEGATIVE_FEEDBACK, "negative_feedback", omitted)
    return [schema.ProfileFeedback(**dict(zip(names, row, strict=True))) for row in found]


def export_seen(member: Member, omitted: dict[str, int]) -> list[schema.SeenPostItem]:
    """Return the posts that the member saw last."""
    rows = (
        SeenPost.objects.filter(member=member).order_by("-seen_at", "-pk").values_list("post__external_id", "seen_at")
    )
    found = take_newest(rows, schema.MAX_SEEN, "seen", omitted)
    return [schema.SeenPostItem(post_id=post_id, seen_at=seen_at) for post_id, seen_at in found]


def export_learned_interests(member: Member) -> schema.LearnedInterests | None:
    """Return the member's interests, authors by the platform's ids; without the last half hour, which is soon over."""
    row = InterestProfile.objects.filter(member=member).first()
    if row is None:
        return None
    authors = row.affinities.get("author", {})
    names = dict(Member.objects.filter(pk__in=map(int, authors)).values_list("pk", "external_id"))
    return schema.LearnedInterests.model_construct(
        embedding_model=row.embedding_model,
        dimension=row.dimension,
        positive=schema.encode_floats(row.positive),
        positive_mass=schema.encode_floats(row.positive_mass),
        negative=schema.encode_floats(row.negative),
        negative_mass=schema.encode_floats(row.negative_mass),
        affinities=schema.ProfileAffinities(
            author={names[int(pk)]: value for pk, value in authors.items() if int(pk) in names},
            topic=row.affinities.get("topic", {}),
            kind=row.affinities.get("kind", {}),
        ),
        reference_at=row.reference_at,
        interaction_count=row.interaction_count,
    )
