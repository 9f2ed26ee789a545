"""Export all data held about a member (docs/privacy.md describes the format)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from flags.experiments.privacy import list_unit_exposures
from flags.services import erasure
from recommendations.collaborative.reactions import Reactions
from recommendations.contracts import Sensitivity
from recommendations.models import (
    AuthorCrowd,
    CrowdNewcomer,
    DampedEngagement,
    FeedRequest,
    Interaction,
    InterestProfile,
    JobFile,
    Member,
    NegativeFeedback,
    Post,
    PrivacySettings,
    ReactionHistory,
    Relationship,
    SeenPost,
    ServedPage,
    Undo,
)
from recommendations.services.errors import JobFileNotFound
from recommendations.services.upkeep.retention import EXPORT_RETENTION

EXPORT_VERSION = 1


def export_member(*, job_id: UUID, member_pk: int, now: datetime) -> None:
    """Store all data held about a member as a file of the job. Idempotent."""
    member = Member.objects.get(pk=member_pk)
    content = json.dumps(collect_member_data(member), cls=DjangoJSONEncoder).encode()
    JobFile.objects.filter(created_at__lt=now - EXPORT_RETENTION).delete()
    JobFile.objects.bulk_create(
        [JobFile(job_id=job_id, member=member, content=zlib.compress(content), created_at=now)],
        update_conflicts=True,
        unique_fields=["job", "member"],
        update_fields=["content", "created_at"],
    )


def fetch_export(*, job_id: UUID) -> list[dict[str, Any]]:
    """Return the exported data of each member who still exists. Raises `JobFileNotFound` if there is none."""
    files = JobFile.objects.filter(job=job_id).order_by("member_id").values_list("content", flat=True)
    parts = [json.loads(zlib.decompress(bytes(content))) for content in files]
    if not parts:
        raise JobFileNotFound(job_id)
    return parts


def collect_member_data(member: Member) -> dict[str, Any]:
    """
    Return all data held about the member, with the platform's ids.

    Incoming follows, blocks and mutes are other members' data and are left out.
    """
    settings = PrivacySettings.objects.filter(member=member)
    return {
        "version": EXPORT_VERSION,
        "member": {
            "id": member.external_id,
            "languages": member.languages,
            "region": member.region,
            "birth_year": member.birth_year,
            "is_adult": member.is_adult,
            "is_active": member.is_active,
            "created_at": member.created_at,
            "interests_reset_at": member.interests_reset_at,
        },
        "privacy_settings": [
            row | {"sensitivity": Sensitivity(row["sensitivity"]).name.lower()}
            for row in settings.values(
                "is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags", "interest_tags"
            )
        ],
        "relationships": select_columns(
            Relationship.objects.filter(source=member), "kind", "created_at", target_id="target__external_id"
        ),
        "posts": select_columns(
            Post.objects.filter(author=member).order_by("pk"),
            "text", "kind", "language", "tags", "media", "safety_labels", "created_at", "removed_at", id="external_id",
        ),
        "interactions": select_columns(
            Interaction.objects.filter(member=member).order_by("pk"),
            "event_id", "sender", "kind", "value", "target", "occurred_at", "undone_at", "request_id",
            post_id="post__external_id",
        ),
        "undos": select_columns(
            Undo.objects.filter(member=member), "event_id", "sender", "undoes_event_id", "received_at"
        ),
        "seen": select_columns(SeenPost.objects.filter(member=member), "seen_at", post_id="post__external_id"),
        "negative_feedback": select_columns(
            NegativeFeedback.objects.filter(member=member), "target", "created_at", post_id="post__external_id"
        ),
        "damped_engagement": select_columns(
            DampedEngagement.objects.filter(member=member),
            "day", "given", "counted", post_id="post__external_id", author_id="author__external_id",
        ),
        "crowds": select_columns(AuthorCrowd.objects.filter(author=member), "day", "newcomers", "others", "share"),
        "rings": select_columns(
            CrowdNewcomer.objects.filter(member=member), "day", "share", author_id="author__external_id"
        ),
        "interests": [export_interests(profile) for profile in InterestProfile.objects.filter(member=member)],
        "reactions": [export_reactions(row) for row in ReactionHistory.objects.filter(member=member)],
        "feed_requests": select_columns(
            FeedRequest.objects.filter(member=member).order_by("created_at"),
            "id", "feed", "engine", "variant", "created_at",
        ),
        "served_pages": export_served_pages(member),
        "experiments": list_unit_exposures(unit_id=member.external_id),
        "segments": [segment.key for segment in erasure.find_segments_listing(member.external_id)],
    }  # fmt: skip


def select_columns(rows: QuerySet[Any, Any], *names: str, **renamed: str) -> list[dict[str, Any]]:
    """Return the named columns of the rows; *renamed* maps a key of the result to a column."""
    keys = (*renamed, *names)
    return [dict(zip(keys, row, strict=True)) for row in rows.values_list(*renamed.values(), *names)]


def export_interests(profile: InterestProfile) -> dict[str, Any]:
    """Return the learned interests, with vectors as lists of numbers."""
    vectors = {
        name: np.frombuffer(bytes(getattr(profile, name)), "<f4").reshape(-1, profile.dimension).tolist()
        for name in ("positive", "negative")
    }
    return {
        "embedding_model": profile.embedding_model,
        "interaction_count": profile.interaction_count,
        "affinities": profile.affinities,
    } | vectors


def export_reactions(row: ReactionHistory) -> list[dict[str, Any]]:
    """Return each reaction in the member's history to a post that still exists, oldest first."""
    reactions = Reactions.from_bytes(bytes(row.reactions), bytes(row.reacted_at))
    names = post_external_ids(np.abs(reactions.signed_ids).tolist())
    return [
        {"post_id": names[abs(signed)], "is_like": signed > 0, "reacted_at": datetime.fromtimestamp(time, UTC)}
        for signed, time in zip(reactions.signed_ids.tolist(), reactions.times.tolist(), strict=True)
        if abs(signed) in names
    ]


def export_served_pages(member: Member) -> list[dict[str, Any]]:
    """Return each page served to the member, with those of its posts that still exist."""
    pages = [
        (page, np.frombuffer(bytes(page.post_ids), "<i8").tolist())
        for page in ServedPage.objects.filter(member=member).order_by("created_at")
    ]
    names = post_external_ids(sorted({post_id for _, post_ids in pages for post_id in post_ids}))
    return [
        {
            "request_id": page.request_id,
            "created_at": page.created_at,
            "post_ids": [names[post_id] for post_id in post_ids if post_id in names],
        }
        for page, post_ids in pages
    ]


def post_external_ids(pks: Sequence[int]) -> dict[int, str]:
    """Return the platform's ids of the posts, by primary key."""
    names: dict[int, str] = {}
    for start in range(0, len(pks), 900):
        names |= dict(Post.objects.filter(pk__in=pks[start : start + 900]).values_list("pk", "external_id"))
    return names
