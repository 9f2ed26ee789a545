"""From a member's id to a query: who asks, which engine and policy serve them, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from django.db import DatabaseError
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from flags.experiments.carried import answer_of
from flags.experiments.rules import Exposed
from recommendations.contracts import EMPTY_IDS, UNKNOWN, Affinity, Int64Array, Interests, Only, Query
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InactiveMember, UnknownMember
from recommendations.stores import relational_viewers as viewers
from recommendations.stores.profiles import read_taste
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Inquiry

FLAG = "wasm_recommendations"
FLAGS = api.get_client()
SLATE_SIZE = 120
"""Posts in a slate: what the pages show, and the reserve behind them. Changes the answer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a member is served by. Read once a request, and passed down: no part asks a flag."""

    engine: str
    variant: str
    exposed: Exposed | None = None
    """What is to be noted once the member was served by an experiment's variant."""


WASM = Choice("wasm_simd", "wasm_conservative")
"""What asks for the WebAssembly engine whatever the flag says."""


def choose(member_id: str) -> Choice:
    """Return the engine and the variant for this member, by the flag."""
    answer = answer_of(FLAGS.get_boolean_details(FLAG, False, EvaluationContext(member_id)))
    if answer.value:
        return Choice("wasm_simd", answer.variant or WASM.variant, answer.exposed)
    return Choice("plain", answer.variant or "control", answer.exposed)


def inquire(
    *, member_id: str | None = None, pk: int = 0, history: bool = False, post_ids: Sequence[int] = ()
) -> Inquiry | None:
    """Ask for the member's facts, and what else is needed; there is something to do until the answer is."""
    try:
        return wiring.facts().ask(external_id=member_id, pk=pk, history=history, post_ids=post_ids)
    except DatabaseError:
        return None  # whoever needs an answer is told


def known_viewer(
    now: datetime, *, member_id: str | None = None, pk: int | None = None, inquiry: Inquiry | None = None
) -> Viewer:
    """Return the member as a viewer, or refuse: unknown, inactive, or not to be read now."""
    try:
        viewer = wiring.facts().viewer(now, external_id=member_id, pk=pk, inquiry=inquiry)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's facts cannot be read now. Try again shortly.") from error
    if viewer is None:
        raise UnknownMember(member_id or str(pk))
    if not viewer.is_active:
        raise InactiveMember(viewer.external_id)
    return viewer


def query_of(
    viewer: Viewer,
    choice: Choice,
    *,
    feed: str,
    now: datetime,
    size: int = SLATE_SIZE,
    excluded: Int64Array = EMPTY_IDS,
    only: Only | None = None,
) -> Query:
    """Return the query of *viewer*: all that a last look needs, and nothing learned of them yet."""
    try:
        policy, version = wiring.policies().of(choice.variant)
    except DatabaseError as error:
        raise FactsUnavailable("The ranking policy cannot be read now. Try again shortly.") from error
    words = wiring.words()
    return Query(
        request_id=uuid4(),
        viewer_id=viewer.id,
        feed=feed,
        size=size,
        now=now.timestamp(),
        policy=policy,
        variant=choice.variant,
        policy_version=version,
        interests=Interests.none(wiring.embedder().dimension),
        excluded_post_ids=excluded,
        only=only or Only(),
        max_sensitivity=viewer.max_sensitivity,
        language_ids=words.languages.numbers(viewer.languages),
        followed_author_ids=viewer.followed,
        blocked_author_ids=viewer.blocked,
        muted_author_ids=viewer.muted,
        hidden_post_ids=viewer.hidden,
        muted_tag_ids=words.tags.numbers(viewer.muted_tags),
        muted_words=viewer.muted_words,
        region_id=words.regions.learn(viewer.region) if viewer.region else UNKNOWN,
    )


def as_of_now(query: Query, viewer: Viewer, choice: Choice, inquiry: Inquiry | None) -> tuple[Query, Viewer]:
    """Return the same query of the same member, by what is known of them by now, or by what *inquiry* asked."""
    now = datetime.fromtimestamp(query.now, UTC)
    found = known_viewer(now, member_id=viewer.external_id, inquiry=inquiry)
    if found is viewer:
        return query, viewer
    anew = query_of(found, choice, feed=query.feed, now=now, size=query.size)
    asked = {name: getattr(query, name) for name in ("request_id", "excluded_post_ids", "only")}
    return replace(anew, **asked), found


class Narrow(NamedTuple):
    """What one request wants only, in the platform's words; empty: any."""

    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_age_hours: float | None = None
    exclude: tuple[str, ...] = ()
    """Ids of posts that must not come."""


def narrowed(narrow: Narrow, now: datetime) -> tuple[Only, Int64Array]:
    """Return what *narrow* says in numbers, and the posts that it leaves out."""
    if narrow == Narrow():
        return Only(), EMPTY_IDS
    words = wiring.words()
    only = Only(
        language_ids=words.languages.numbers(narrow.languages),
        format_ids=words.formats.numbers(narrow.kinds),
        tag_ids=words.tags.numbers(narrow.tags),
        since=now.timestamp() - narrow.max_age_hours * 3600 if narrow.max_age_hours else 0.0,
        key=hashlib.blake2b(repr(narrow).encode(), digest_size=8).hexdigest(),
    )
    return only, viewers.posts_named(narrow.exclude)


def learns_from_history(query: Query, viewer: Viewer) -> bool:
    """Return whether a feed is ranked by what its viewer did."""
    return query.feed == "discovery" and viewer.is_personalised


def with_history(query: Query, viewer: Viewer, choice: Choice) -> tuple[Query, Viewer]:
    """
    Return *query* and *viewer* as of now, and with what ranking needs besides.

    That is what the viewer saw and, if they want it, their interests, all asked for at once.
    """
    facts = wiring.facts()
    fatigue = Affinity()
    learns = learns_from_history(query, viewer)
    inquiry = inquire(pk=viewer.id, history=learns)
    if learns:
        fatigue = wiring.served().fatigue(viewer.id, query.now, query.policy.fatigue_half_life_hours * 3600)
    query, viewer = as_of_now(query, viewer, choice, inquiry)
    if not query.uses_history:
        return query, viewer
    try:
        if not learns_from_history(query, viewer):
            return replace(query, seen_post_ids=facts.seen(viewer.id).post_ids), viewer
        seen, profile, wishes = facts.history(viewer.id, wiring.tastes(), inquiry)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's history cannot be read now. Try again shortly.") from error
    now = datetime.fromtimestamp(query.now, UTC)
    taste = read_taste(profile, wishes, now, wiring.embedder().dimension, wiring.words(), query.policy.session)
    learned = replace(
        query,
        seen_post_ids=seen.post_ids,
        interests=taste.interests,
        author_affinity=taste.authors,
        topic_affinity=taste.topics,
        format_affinity=taste.formats,
        served=fatigue,
    )
    return learned, viewer
