"""
Export a member's profile as a file that this service can import, here or on another platform.

Stored values are written without validation, so that an unusual row does not prevent a member's export.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from recommendations.models import InterestProfile, Member, NegativeFeedback, Relationship, SeenPost
from recommendations.services.members.preferences import RELATIONSHIP_KINDS, get_member, read_preferences
from recommendations.services.members.profile_file import schema


def export_profile(*, member_id: str, now: datetime) -> dict[str, Any]:
    """Return the profile as JSON values. Raises `UnknownMember`."""
    member = get_member(member_id)
    omitted: dict[str, int] = {}
    profile = schema.ProfileFile(
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
    return profile.model_dump(mode="json")


def take_newest(rows: Any, limit: int, name: str, omitted: dict[str, int]) -> list[Any]:
    """Return the first *limit* rows and store the number of remaining rows in *omitted*."""
    omitted[name] = max(0, rows.count() - limit)
    return list(rows[:limit])


def export_relationships(member: Member, kind: str, omitted: dict[str, int]) -> list[str]:
    """Return the ids of the members whom the member follows, blocks or mutes, newest first."""
    rows = Relationship.objects.filter(source=member, kind=kind).order_by("-created_at", "-pk")
    return take_newest(rows.values_list("target__external_id", flat=True), schema.MAX_RELATIONSHIPS, kind, omitted)


def export_negative_feedback(member: Member, omitted: dict[str, int]) -> list[schema.ProfileFeedback]:
    """Return the member's negative feedback, newest first."""
    rows = NegativeFeedback.objects.filter(member=member).order_by("-created_at", "-pk")
    columns = rows.values_list("target", "post__external_id", "event_id", "created_at")
    names = ("target", "post_id", "event_id", "created_at")
    newest = take_newest(columns, schema.MAX_NEGATIVE_FEEDBACK, "negative_feedback", omitted)
    return [schema.ProfileFeedback(**dict(zip(names, row, strict=True))) for row in newest]


def export_seen(member: Member, omitted: dict[str, int]) -> list[schema.SeenPostItem]:
    """Return the posts that the member saw most recently, newest first."""
    rows = (
        SeenPost.objects.filter(member=member).order_by("-seen_at", "-pk").values_list("post__external_id", "seen_at")
    )
    newest = take_newest(rows, schema.MAX_SEEN, "seen", omitted)
    return [schema.SeenPostItem(post_id=post_id, seen_at=seen_at) for post_id, seen_at in newest]


def export_learned_interests(member: Member) -> schema.LearnedInterests | None:
    """
    Return the learned interests, with authors by the platform's ids, or None.

    The session vector is left out because it fades within an hour.
    """
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
