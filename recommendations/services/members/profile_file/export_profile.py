"""
Export a member's profile as a file that this service can import, here or on another platform.

Stored values are written without validation, so that an unusual row does not prevent a member's export.

The file names only posts and members that the member may see now: it would else reveal who blocks the member, or what a
post was about that has become hidden. The vectors of the interests stay as they were learned.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from recommendations.models import Interaction, InterestProfile, Member, NegativeFeedback, Relationship, SeenPost
from recommendations.services.learning.affinities import MAX_AFFINITIES, affinity_keys
from recommendations.services.learning.store_relationships import FOLLOW_KINDS
from recommendations.services.members.preferences import get_member, read_preferences
from recommendations.services.members.profile_file import schema
from recommendations.services.serving.visibility import members_visible_to, select_visible
from recommendations.stores.relational_posts import read_post_facts


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
            **{kind: export_relationships(member, kind, omitted) for kind in schema.ProfileRelationships.model_fields}
        ),
        negative_feedback=export_negative_feedback(member, omitted, now),
        interests=export_learned_interests(member, now),
        seen=export_seen(member, omitted, now),
        omitted=schema.OmittedCounts(**omitted),
    )
    return profile.model_dump(mode="json")


def take_newest(rows: Any, limit: int, name: str, omitted: dict[str, int]) -> list[Any]:
    """Return the first *limit* rows and store the number of remaining rows in *omitted*."""
    omitted[name] = max(0, rows.count() - limit)
    return list(rows[:limit])


def export_relationships(member: Member, kind: str, omitted: dict[str, int]) -> list[str]:
    """Return the ids of the members whom the member follows (or requested to), blocks or mutes, newest first."""
    kinds = FOLLOW_KINDS if kind == Relationship.Kind.FOLLOW else (kind,)
    rows = Relationship.objects.filter(source=member, kind__in=kinds, target__in=members_visible_to(member.pk))
    names = rows.order_by("-created_at", "-pk").values_list("target__external_id", flat=True)
    return take_newest(names, schema.MAX_RELATIONSHIPS, kind, omitted)


def export_negative_feedback(member: Member, omitted: dict[str, int], now: datetime) -> list[schema.ProfileFeedback]:
    """Return the member's negative feedback on posts that they may see, newest first."""
    rows = NegativeFeedback.objects.filter(member=member).order_by("-created_at", "-pk")
    columns = rows.values_list("post_id", "target", "event_id", "created_at")
    newest = take_newest(columns, schema.MAX_NEGATIVE_FEEDBACK, "negative_feedback", omitted)
    visible = select_visible(member.pk, {post_pk for post_pk, *_ in newest}, now)
    return [
        schema.ProfileFeedback(
            target=target, post_id=visible[post_pk].external_id, event_id=event_id, created_at=created_at
        )
        for post_pk, target, event_id, created_at in newest
        if post_pk in visible
    ]


def export_seen(member: Member, omitted: dict[str, int], now: datetime) -> list[schema.SeenPostItem]:
    """Return the posts that the member saw most recently and may see now, newest first."""
    rows = SeenPost.objects.filter(member=member).order_by("-seen_at", "-pk").values_list("post_id", "seen_at")
    newest = take_newest(rows, schema.MAX_SEEN, "seen", omitted)
    visible = select_visible(member.pk, {post_pk for post_pk, _ in newest}, now)
    return [
        schema.SeenPostItem(post_id=visible[post_pk].external_id, seen_at=seen_at)
        for post_pk, seen_at in newest
        if post_pk in visible
    ]


def export_learned_interests(member: Member, now: datetime) -> schema.LearnedInterests | None:
    """
    Return the learned interests, with authors by the platform's ids, or None.

    The session vector is left out because it fades within an hour.
    """
    row = InterestProfile.objects.filter(member=member).first()
    if row is None:
        return None
    names = find_hidden_names(member, now)
    sums = {
        target: {key: value for key, value in row.affinities.get(target, {}).items() if (target, key) not in names}
        for target in MAX_AFFINITIES
    }
    authors = members_visible_to(member.pk).filter(pk__in=map(int, sums["author"])).values_list("pk", "external_id")
    return schema.LearnedInterests.model_construct(
        embedding_model=row.embedding_model,
        dimension=row.dimension,
        positive=schema.encode_floats(row.positive),
        positive_mass=schema.encode_floats(row.positive_mass),
        negative=schema.encode_floats(row.negative),
        negative_mass=schema.encode_floats(row.negative_mass),
        affinities=schema.ProfileAffinities(
            author={external_id: sums["author"][str(pk)] for pk, external_id in authors},
            topic=sums["topic"],
            kind=sums["kind"],
        ),
        reference_at=row.reference_at,
        interaction_count=row.interaction_count,
    )


def find_hidden_names(member: Member, now: datetime) -> set[tuple[str, str]]:
    """
    Return the (target, key) pairs of authors, topics and kinds that only hidden posts would explain.

    They are those of posts that the member interacted with and may not see now, without those of visible ones. A sum
    that came from a profile file has no such post and is kept.
    """
    posts = read_post_facts(
        pks=sorted(set(Interaction.objects.filter(member=member).values_list("post_id", flat=True)))
    )
    visible = select_visible(member.pk, [post.id for post in posts], now)
    keys: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for post in posts:
        keys[post.id in visible].update(affinity_keys(post.author_id, post.tags, post.kind))
    return keys[False] - keys[True]
