"""
What members want and allow: preferences, consent to be learned from, ties to others, and a fresh start.

Every change forgets the slates of those whom it concerns; the last look reads the rows themselves in any case.
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
from recommendations.services.learning.reset import forget_taste

MEMBER_FIELDS = frozenset({"languages", "region"})
PRIVACY_FIELDS = frozenset({"is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags"})
STRICTEST_SETTINGS = {"is_private": True, "is_personalized": False}
"""What holds for a member without settings, and goes on to hold when they change another one."""
RELATIONSHIP_KINDS = tuple(kind.value for kind in Relationship.Kind)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a member wants and allows."""

    languages: list[str]
    region: str
    is_private: bool
    is_personalized: bool
    sensitivity: str
    muted_words: list[str]
    muted_tags: list[str]


def get_member(member_id: str) -> Member:
    """Return the member's row, or refuse."""
    try:
        return Member.objects.get(external_id=member_id)
    except Member.DoesNotExist:
        raise UnknownMember(member_id) from None
    except DatabaseError as error:
        raise FactsUnavailable("The member cannot be read now. Try again shortly.") from error


def read_preferences(*, member_id: str) -> Preferences:
    """Return what the member wants and allows; of one without settings, the strictest."""
    member = get_member(member_id)
    own = PrivacySettings.objects.filter(member=member).first()
    if own is None:
        own = PrivacySettings(member=member, **STRICTEST_SETTINGS)
    return Preferences(
        languages=member.languages,
        region=member.region,
        is_private=own.is_private,
        is_personalized=own.is_personalized,
        sensitivity=Sensitivity(own.sensitivity).name.lower(),
        muted_words=own.muted_words,
        muted_tags=own.muted_tags,
    )


@transaction.atomic
def set_preferences(*, member_id: str, changes: Mapping[str, Any], now: datetime) -> Preferences:
    """
    Change some of a member's preferences, and return all of them. They hold from the next request on.

    Taking back the consent to be learned from (`is_personalized`) deletes what was learned; giving it again starts
    from nothing.
    """
    if unknown := sorted(set(changes) - MEMBER_FIELDS - PRIVACY_FIELDS):
        raise InvalidRequest(f"There is no preference {unknown[0]!r}.", f"/{unknown[0]}")
    member = get_member(member_id)
    for name in MEMBER_FIELDS & set(changes):
        setattr(member, name, changes[name])
    member.changed_at = now
    # These columns only: a fresh start or a deactivation that comes at the same moment must not be written over.
    member.save(update_fields=[*MEMBER_FIELDS, "changed_at"])
    own, _ = PrivacySettings.objects.select_for_update().get_or_create(
        member=member, defaults={**STRICTEST_SETTINGS, "changed_at": now}
    )
    consented = own.is_personalized
    for name in PRIVACY_FIELDS & set(changes):
        value = changes[name]
        setattr(own, name, Sensitivity[value.upper()].value if name == "sensitivity" else value)
    own.changed_at = now
    own.save()
    if consented != own.is_personalized:
        forget_taste(member.pk, now)
    invalidate.invalidate_slates(member.pk)
    return read_preferences(member_id=member_id)


@transaction.atomic
def reset_interests(*, member_id: str, now: datetime) -> None:
    """
    Forget a member's taste: interests, likings, wishes for less of an author, topic or format, and what was served.

    What they follow, block and mute stays, and so does what they hid or reported. Earlier acts are never learned again.
    """
    member = get_member(member_id)
    forget_taste(member.pk, now)
    invalidate.invalidate_slates(member.pk)


@transaction.atomic
def set_relationship(*, member_id: str, kind: str, other_id: str, is_on: bool, now: datetime) -> None:
    """
    Have a member follow, block or mute another, or no longer. Twice is once.

    A block ends the follows between the two, and there is none as long as it stands. Who is blocked is not told so:
    their follow has no effect.
    """
    if kind not in RELATIONSHIP_KINDS:
        raise InvalidRequest(f"There is no tie {kind!r}; there are {', '.join(RELATIONSHIP_KINDS)}.", "/kind")
    source, target = get_member(member_id), get_member(other_id)
    if source.pk == target.pk:
        raise InvalidRequest("A member cannot follow, block or mute themselves.", "/other_id")
    ties = Relationship.objects.filter(source=source, target=target, kind=kind)
    if not is_on:
        ties.delete()
    elif not ties.exists() and not (kind == Relationship.Kind.FOLLOW and has_block_between(source, target)):
        Relationship.objects.bulk_create(
            [Relationship(source=source, target=target, kind=kind, created_at=now)], ignore_conflicts=True
        )
    if is_on and kind == Relationship.Kind.BLOCK:
        follows = Relationship.objects.filter(kind=Relationship.Kind.FOLLOW)
        follows.filter(source=source, target=target).delete()
        follows.filter(source=target, target=source).delete()
    invalidate.invalidate_slates(source.pk, target.pk)


def has_block_between(one: Member, other: Member) -> bool:
    """Return whether either of the two blocks the other."""
    blocks = Relationship.objects.filter(kind=Relationship.Kind.BLOCK)
    return blocks.filter(Q(source=one, target=other) | Q(source=other, target=one)).exists()
