"""
Change a member's preferences, consent to learning and relationships, and reset their interests.

Every change invalidates the slates of the members it affects. The final check reads the rows themselves in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q

from recommendations.contracts import Sensitivity
from recommendations.models import Member, PrivacySettings, Relationship
from recommendations.services import invalidate
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownMember
from recommendations.services.learning.reset import delete_learned_interests

MEMBER_FIELDS = frozenset({"languages", "region"})
PRIVACY_FIELDS = frozenset(
    {"is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags", "interest_tags"}
)
STRICTEST_SETTINGS = {"is_private": True, "is_personalized": False}
"""The settings of a member without a `PrivacySettings` row. Each stays in force until the member changes it."""
RELATIONSHIP_KINDS = tuple(kind.value for kind in Relationship.Kind)


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of a member."""

    languages: list[str]
    region: str
    is_private: bool
    is_personalized: bool
    sensitivity: str
    muted_words: list[str]
    muted_tags: list[str]
    interest_tags: list[str]


def get_member(member_id: str) -> Member:
    """Return the member's row. Raises `UnknownMember`, or `FactsUnavailable` if the database fails."""
    try:
        return Member.objects.get(external_id=member_id)
    except Member.DoesNotExist:
        raise UnknownMember(member_id) from None
    except DatabaseError as error:
        raise FactsUnavailable("The member cannot be read now. Try again later.") from error


def read_preferences(*, member_id: str) -> Preferences:
    """Return the member's preferences; `STRICTEST_SETTINGS` for a member without settings. Raises `UnknownMember`."""
    member = get_member(member_id)
    settings = PrivacySettings.objects.filter(member=member).first()
    if settings is None:
        settings = PrivacySettings(member=member, **STRICTEST_SETTINGS)
    return Preferences(
        languages=member.languages,
        region=member.region,
        is_private=settings.is_private,
        is_personalized=settings.is_personalized,
        sensitivity=Sensitivity(settings.sensitivity).name.lower(),
        muted_words=settings.muted_words,
        muted_tags=settings.muted_tags,
        interest_tags=settings.interest_tags,
    )


@transaction.atomic
def set_preferences(*, member_id: str, changes: Mapping[str, Any], now: datetime) -> Preferences:
    """
    Change some of a member's preferences and return all of them. They apply from the next request on.

    Withdrawing the consent to learning (`is_personalized`) deletes what was learned. Learning starts from nothing
    after a new consent. Raises `UnknownMember`, and `InvalidRequest` for an unknown preference.
    """
    if unknown := sorted(set(changes) - MEMBER_FIELDS - PRIVACY_FIELDS):
        raise InvalidRequest(f"There is no preference {unknown[0]!r}.", f"/{unknown[0]}")
    member = get_member(member_id)
    for name in MEMBER_FIELDS & set(changes):
        setattr(member, name, changes[name])
    member.changed_at = now
    # Save these columns only, to avoid overwriting a concurrent reset or deactivation.
    member.save(update_fields=[*MEMBER_FIELDS, "changed_at"])
    settings, _ = PrivacySettings.objects.select_for_update().get_or_create(
        member=member, defaults={**STRICTEST_SETTINGS, "changed_at": now}
    )
    had_consent = settings.is_personalized
    for name in PRIVACY_FIELDS & set(changes):
        value = changes[name]
        setattr(settings, name, Sensitivity[value.upper()].value if name == "sensitivity" else value)
    settings.changed_at = now
    settings.save()
    if had_consent != settings.is_personalized:
        delete_learned_interests(member.pk, now)
    invalidate.invalidate_slates(member.pk)
    return read_preferences(member_id=member_id)


@transaction.atomic
def reset_interests(*, member_id: str, now: datetime) -> None:
    """
    Reset a member's interests, affinities, served history and negative feedback on authors, topics and kinds.

    Relationships stay, as do hidden and reported posts. Earlier interactions are never learned again. Raises
    `UnknownMember`.
    """
    member = get_member(member_id)
    delete_learned_interests(member.pk, now)
    invalidate.invalidate_slates(member.pk)


@transaction.atomic
def set_relationship(*, member_id: str, kind: str, target_id: str, is_on: bool, now: datetime) -> None:
    """
    Create or delete a follow, block or mute between two members. Idempotent.

    A block deletes the follows between the two members and prevents new ones. A follow across a block raises no error
    but has no effect, so that a blocked member does not find out. Raises `UnknownMember`, and `InvalidRequest` for an
    unknown kind or a relationship of a member with themselves.
    """
    if kind not in RELATIONSHIP_KINDS:
        raise InvalidRequest(f"Give a relationship kind of {', '.join(RELATIONSHIP_KINDS)}, not {kind!r}.", "/kind")
    source, target = get_member(member_id), get_member(target_id)
    if source.pk == target.pk:
        raise InvalidRequest("A member cannot follow, block or mute themselves.", "/target_id")
    existing = Relationship.objects.filter(source=source, target=target, kind=kind)
    if not is_on:
        existing.delete()
    elif not existing.exists() and not (kind == Relationship.Kind.FOLLOW and has_block_between(source, target)):
        Relationship.objects.bulk_create(
            [Relationship(source=source, target=target, kind=kind, created_at=now)], ignore_conflicts=True
        )
    if is_on and kind == Relationship.Kind.BLOCK:
        follows = Relationship.objects.filter(kind=Relationship.Kind.FOLLOW)
        follows.filter(source=source, target=target).delete()
        follows.filter(source=target, target=source).delete()
    invalidate.invalidate_slates(source.pk, target.pk)


def has_block_between(first: Member, second: Member) -> bool:
    """Return whether either member blocks the other."""
    blocks = Relationship.objects.filter(kind=Relationship.Kind.BLOCK)
    return blocks.filter(Q(source=first, target=second) | Q(source=second, target=first)).exists()
