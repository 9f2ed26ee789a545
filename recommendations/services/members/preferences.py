"""
Change a member's preferences, consent to learning and relationships, and reset their interests.

Every change invalidates the slates of the members it affects. The final check reads the rows themselves in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from monitoring.transactions import write_transaction
from recommendations.contracts import Sensitivity
from recommendations.models import Member, PrivacySettings, Relationship
from recommendations.services import invalidate
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownMember
from recommendations.services.learning.reset import delete_learned_interests
from recommendations.services.learning.store_relationships import (
    FOLLOW_KINDS,
    approve_requests_of_open_accounts,
    end_relationships,
    store_relationships,
)
from recommendations.services.serving.visibility import members_visible_to
from recommendations.stores.bulk import Column
from recommendations.stores.row_locks import lock_members

MEMBER_FIELDS = frozenset({"languages", "region"})
PRIVACY_FIELDS = frozenset(
    {"is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags", "interest_tags"}
)
MUTE_FIELDS = frozenset({"muted_words", "muted_tags"})
STRICTEST_SETTINGS = {"is_private": True}
"""
The settings of a member without a `PrivacySettings` row, beside the defaults. Each stays in force until the member
changes it. PERSONALIZATION_CONSENT decides about `is_personalized`.
"""
RELATIONSHIP_KINDS = tuple(kind.value for kind in Relationship.Kind)
NO_MEMBER_PK = 0
"""Stands for a member who does not exist, so that the same queries run."""


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


def lock_member(member_id: str) -> Member:
    """Lock the member's row, which guards everything about the member, and return it. Raises `UnknownMember`."""
    lock_members([get_member(member_id).pk])
    return get_member(member_id)  # the member may have been changed or erased before the lock


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


@write_transaction
def set_preferences(*, member_id: str, changes: Mapping[str, Any], now: datetime) -> Preferences:
    """
    Change some of a member's preferences and return all of them. They apply from the next request on.

    Withdrawing the consent to learning (`is_personalized`) deletes what was learned. Learning starts from nothing
    after a new consent. When the account becomes open, its pending follow requests are approved.

    Raises `UnknownMember`, and `InvalidRequest` for an unknown preference.
    """
    if unknown := sorted(set(changes) - MEMBER_FIELDS - PRIVACY_FIELDS):
        raise InvalidRequest(f"There is no preference {unknown[0]!r}.", f"/{unknown[0]}")
    member = lock_member(member_id)
    member_values = {name: changes[name] for name in MEMBER_FIELDS & set(changes)}
    Member.objects.filter(pk=member.pk).update(**member_values, changed_at=now)
    settings, _ = PrivacySettings.objects.get_or_create(
        member=member, defaults={**STRICTEST_SETTINGS, "changed_at": now}
    )
    values = {name: changes[name] for name in PRIVACY_FIELDS & set(changes)}
    mutes_only = only_adds_mutes(settings, changes)
    if "sensitivity" in values:
        values["sensitivity"] = Sensitivity[values["sensitivity"].upper()].value
    PrivacySettings.objects.filter(pk=settings.pk).update(**values, changed_at=now)
    if values.get("is_personalized", settings.is_personalized) != settings.is_personalized:
        delete_learned_interests(member.pk, now)
    approve_requests_of_open_accounts([member.pk])
    if not mutes_only:
        invalidate.invalidate_slates(member.pk)
    return read_preferences(member_id=member_id)


def only_adds_mutes(settings: PrivacySettings, changes: Mapping[str, Any]) -> bool:
    """
    Return whether *changes* only mute more words or tags.

    The final check drops such posts from a cached slate, whose other posts stay where they are.
    """
    return set(changes) <= MUTE_FIELDS and all(set(getattr(settings, name)) <= set(changes[name]) for name in changes)


@write_transaction
def reset_interests(*, member_id: str, now: datetime) -> None:
    """
    Reset a member's interests, affinities, served history and negative feedback on authors, topics and kinds.

    Relationships stay, as do hidden and reported posts. Earlier interactions are never learned again. Raises
    `UnknownMember`.
    """
    member = lock_member(member_id)
    delete_learned_interests(member.pk, now)
    invalidate.invalidate_slates(member.pk)


@write_transaction
def set_relationship(
    *, member_id: str, kind: str, target_id: str, is_on: bool, is_sent_by_member: bool, now: datetime
) -> None:
    """
    Create or delete a follow, follow request, block or mute between two members. Idempotent.

    `store_relationships.py` states the rules: when a follow is a request, and what a block ends and prevents.
    *is_sent_by_member*: a member's token sent this, not the platform itself. The follow of a private account is then a
    request. A follow of a member who is hidden from this one, such as one who blocks them, has no effect and raises no
    error, and neither does a relationship to a member who does not exist: otherwise a member could find out who blocks
    them. A block or mute of a hidden member is stored. The end of a follow also withdraws a request.

    Raises `UnknownMember`, and `InvalidRequest` for an unknown kind or a relationship of a member with themselves.
    """
    if kind not in RELATIONSHIP_KINDS:
        raise InvalidRequest(f"Give a relationship kind of {', '.join(RELATIONSHIP_KINDS)}, not {kind!r}.", "/kind")
    source_pk = get_member(member_id).pk
    if target_id == member_id:
        raise InvalidRequest("A member cannot follow, block or mute themselves.", "/target_id")
    is_restricted = is_sent_by_member and kind in FOLLOW_KINDS
    targets = members_visible_to(source_pk) if is_restricted else Member.objects.all()
    target_pk = targets.filter(external_id=target_id).values_list("pk", flat=True).first() or NO_MEMBER_PK
    if target_pk == NO_MEMBER_PK and not is_sent_by_member:
        raise UnknownMember(target_id)
    if is_on:
        columns: dict[str, Column] = {
            "source_id": [source_pk], "target_id": [target_pk], "kind": [kind], "created_at": [now],
        }  # fmt: skip
        store_relationships(columns, approves_follows=not is_sent_by_member)
    else:
        kinds = FOLLOW_KINDS if kind == Relationship.Kind.FOLLOW else (kind,)
        end_relationships(Relationship.objects.filter(source=source_pk, target=target_pk, kind__in=kinds))
