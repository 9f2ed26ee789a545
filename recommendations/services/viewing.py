"""From a member's id to a query: who asks, which engine and policy serve them, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.db import DatabaseError

from flags import services as flags
from recommendations.contracts import EMPTY_IDS, Int64Array, Interests, Policy, Query
from recommendations.models import Member, RankingPolicy
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InactiveMember, UnknownMember
from recommendations.stores import relational_viewers as viewers

FLAG = "wasm_recommendations"
SLATE_SIZE = 150
"""Posts in a slate: what the pages show, and the reserve behind them. Changes the answer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a member is served by. Read once a request, and passed down: no part asks a flag."""

    engine: str
    variant: str


def choose(member_id: str) -> Choice:
    """Return the engine and the variant for this member, by the flag."""
    if flags.is_on(key=FLAG, unit_id=member_id):
        return Choice("wasm_simd", "wasm_conservative")
    return Choice("plain", "control")


def policy_of(variant: str) -> tuple[Policy, int]:
    """Return the variant's active policy and its version; the defaults, version 0, if it has none."""
    row = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
    return (Policy.of(row.settings), row.version) if row else (Policy(), 0)


def known_member(member_id: str) -> Member:
    """Return the member, or refuse: unknown, inactive, or not to be read now."""
    try:
        member = viewers.find(member_id)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's facts cannot be read now. Try again shortly.") from error
    if member is None:
        raise UnknownMember(member_id)
    if not member.is_active:
        raise InactiveMember(member_id)
    return member


def query_of(
    member: Member,
    choice: Choice,
    *,
    feed: str,
    now: datetime,
    size: int = SLATE_SIZE,
    interests: Interests | None = None,
    excluded: Int64Array = EMPTY_IDS,
    request_id: UUID | None = None,
) -> Query:
    """Return the query of *member*: five queries, whatever the history's length. *interests* replace its own."""
    try:
        viewer = viewers.read_viewer(member, now)
        policy, version = policy_of(choice.variant)
        embedder = wiring.embedder()
        if interests is None and viewer.is_personalised and feed == "discovery":
            interests = viewers.read_interests(member.pk, embedder.name, embedder.dimension)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's facts cannot be read now. Try again shortly.") from error
    words = wiring.words()
    return Query(
        request_id=request_id or uuid4(),
        viewer_id=viewer.id,
        feed=feed,
        size=size,
        now=now.timestamp(),
        policy=policy,
        variant=choice.variant,
        policy_version=version,
        interests=interests or Interests.none(embedder.dimension),
        excluded_post_ids=excluded,
        max_sensitivity=viewer.max_sensitivity,
        language_ids=words.languages.numbers(viewer.languages),
        followed_author_ids=viewer.followed,
        blocked_author_ids=viewer.blocked,
        muted_author_ids=viewer.muted,
        muted_tag_ids=words.tags.numbers(viewer.muted_tags),
        muted_words=viewer.muted_words,
        seen_post_ids=viewer.seen,
    )
