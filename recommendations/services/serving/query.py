"""From a member's id to a query: the viewer's facts, the engine and policy that serve them, and what ranking needs."""

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
from flags.services.version import version
from recommendations.contracts import EMPTY_IDS, UNKNOWN, Affinity, Int64Array, Interests, Only, Query
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InactiveMember, UnknownMember
from recommendations.stores import relational_viewers as viewers
from recommendations.stores.profiles import read_taste
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import History, Inquiry

ENGINE_FLAG = "wasm_recommendations"
FLAG_CLIENT = api.get_client()
SLATE_SIZE = 120
"""Posts in a slate: what the pages show, and the reserve behind them. Changes the answer."""


@dataclass(frozen=True, slots=True)
class EngineAssignment:
    """The engine and the variant that serve a member. Decided once a request and passed down."""

    engine: str
    variant: str
    exposed_variant: Exposed | None = None
    """The experiment's variant that the member is exposed to once they are served."""
    flags_version: str = ""
    """The version of the flags that decided this; empty if no flag did."""


WASM_ASSIGNMENT = EngineAssignment("wasm_simd", "wasm_conservative")
"""For a caller that wants the WebAssembly engine whatever the flag says."""


def assign_engine(member_id: str) -> EngineAssignment:
    """Return the engine and the variant that the flag gives this member."""
    # The version is read first: a flag that changes in between makes the assignment look older than it is.
    flags_version = version()
    answer = answer_of(FLAG_CLIENT.get_boolean_details(ENGINE_FLAG, False, EvaluationContext(member_id)))
    if answer.value:
        variant = answer.variant or WASM_ASSIGNMENT.variant
        return EngineAssignment(WASM_ASSIGNMENT.engine, variant, answer.exposed, flags_version)
    return EngineAssignment("plain", answer.variant or "control", answer.exposed, flags_version)


def prefetch_facts(
    *, member_id: str | None = None, pk: int = 0, has_history: bool = False, post_ids: Sequence[int] = ()
) -> Inquiry | None:
    """
    Send the queries for the change log and for the facts that this process has not cached; do not wait for the answer.

    The facts are those of the member, by *member_id* (the platform's id) or *pk*, and of *post_ids*; *has_history* adds
    what ranking needs: seen posts, interests and negative feedback. None: nothing can be prefetched or cached now,
    so each fact is read where it is needed.
    """
    try:
        return wiring.facts().ask(external_id=member_id, pk=pk, history=has_history, post_ids=post_ids)
    except DatabaseError:
        return None  # reading the facts without a prefetch then raises the error


def get_viewer(
    now: datetime, *, member_id: str | None = None, pk: int | None = None, prefetch: Inquiry | None = None
) -> Viewer:
    """
    Return the member as a viewer, as of when *prefetch* was sent; without one, as of now.

    Raises `UnknownMember`, `InactiveMember`, or `FactsUnavailable` if the database cannot be read.
    """
    try:
        viewer = wiring.facts().viewer(now, external_id=member_id, pk=pk, inquiry=prefetch)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's facts cannot be read now. Try again shortly.") from error
    if viewer is None:
        raise UnknownMember(member_id or str(pk))
    if not viewer.is_active:
        raise InactiveMember(viewer.external_id)
    return viewer


def build_query(
    viewer: Viewer,
    assignment: EngineAssignment,
    *,
    feed: str,
    now: datetime,
    size: int = SLATE_SIZE,
    excluded_post_ids: Int64Array = EMPTY_IDS,
    feed_filter: Only | None = None,
) -> Query:
    """Return the query of *viewer* with all that the final check needs; `load_history` adds what ranking needs."""
    try:
        policy, policy_version = wiring.policies().of(assignment.variant)
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
        variant=assignment.variant,
        policy_version=policy_version,
        interests=Interests.none(wiring.embedder().dimension),
        excluded_post_ids=excluded_post_ids,
        only=feed_filter or Only(),
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


def refresh_query(
    query: Query, viewer: Viewer, assignment: EngineAssignment, prefetch: Inquiry | None
) -> tuple[Query, Viewer]:
    """Return the same query and viewer on current facts: those of *prefetch*, or read now without one."""
    now = datetime.fromtimestamp(query.now, UTC)
    current = get_viewer(now, member_id=viewer.external_id, prefetch=prefetch)
    if current is viewer:
        return query, viewer
    refreshed = build_query(current, assignment, feed=query.feed, now=now, size=query.size)
    requested = {name: getattr(query, name) for name in ("request_id", "excluded_post_ids", "only")}
    return replace(refreshed, **requested), current


class FeedFilters(NamedTuple):
    """The posts that one request accepts, in the platform's words and ids. An empty filter accepts every post."""

    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_age_hours: float | None = None
    exclude: tuple[str, ...] = ()
    """Ids of posts to leave out."""


NO_FILTERS = FeedFilters()


def resolve_filters(filters: FeedFilters, now: datetime) -> tuple[Only, Int64Array]:
    """Return the filter of *filters* in our own numbers, and the sorted ids (n,) of the posts to leave out."""
    if filters == NO_FILTERS:
        return Only(), EMPTY_IDS
    words = wiring.words()
    feed_filter = Only(
        language_ids=words.languages.numbers(filters.languages),
        format_ids=words.formats.numbers(filters.kinds),
        tag_ids=words.tags.numbers(filters.tags),
        since=now.timestamp() - filters.max_age_hours * 3600 if filters.max_age_hours else 0.0,
        key=hashlib.blake2b(repr(filters).encode(), digest_size=8).hexdigest(),
    )
    return feed_filter, viewers.posts_named(filters.exclude)


def is_ranked_by_history(query: Query, viewer: Viewer) -> bool:
    """Return whether the feed is ranked by what its viewer did."""
    return query.feed == "discovery" and viewer.is_personalised


def load_history(query: Query, viewer: Viewer, assignment: EngineAssignment) -> tuple[Query, Viewer]:
    """
    Return *query* and *viewer* on current facts, with what ranking needs: seen posts and, if used, interests.

    One batch of queries reads the change log, the viewer and their history. Raises `FactsUnavailable`.
    """
    is_ranked = is_ranked_by_history(query, viewer)
    prefetch = prefetch_facts(pk=viewer.id, has_history=is_ranked)
    fatigue = Affinity()
    if is_ranked:  # Redis is read while the database answers
        fatigue = wiring.served().fatigue(viewer.id, query.now, query.policy.fatigue_half_life_hours * 3600)
    query, viewer = refresh_query(query, viewer, assignment, prefetch)
    if not query.uses_history:
        return query, viewer
    facts = wiring.facts()
    try:
        if not is_ranked_by_history(query, viewer):
            return replace(query, seen_post_ids=facts.seen(viewer.id).post_ids), viewer
        history = facts.history(viewer.id, wiring.tastes(), prefetch)
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's history cannot be read now. Try again shortly.") from error
    return add_history(query, history, fatigue), viewer


def add_history(query: Query, history: History, fatigue: Affinity) -> Query:
    """Return *query* with the viewer's seen posts, interests, affinities and fatigue."""
    now = datetime.fromtimestamp(query.now, UTC)
    dimension, words = wiring.embedder().dimension, wiring.words()
    taste = read_taste(history.profile, history.wishes, now, dimension, words, query.policy.session)
    return replace(
        query,
        seen_post_ids=history.seen.post_ids,
        interests=taste.interests,
        author_affinity=taste.authors,
        topic_affinity=taste.topics,
        format_affinity=taste.formats,
        served=fatigue,
    )
