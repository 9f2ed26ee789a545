"""From a member's id to a query: the viewer's facts, the engine and policy that serve them, and what ranking needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from django.conf import settings
from django.db import DatabaseError
from openfeature.evaluation_context import EvaluationContext

from flags.client import FLAG_CLIENT
from flags.experiments.openfeature_metadata import answer_from_details
from flags.experiments.rules import ExposedVariant
from flags.services.version import flags_version
from recommendations.contracts import (
    EMPTY_IDS,
    ENGINE_FLAG,
    UNKNOWN,
    Affinity,
    FeedFilter,
    Int64Array,
    Interests,
    Query,
)
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InactiveMember, UnknownMember
from recommendations.services.serving.collaborative import score_reactions
from recommendations.stores import relational_viewers as viewers
from recommendations.stores.profiles import build_taste
from recommendations.stores.relational_viewers import Viewer
from recommendations.stores.resident_facts import Prefetch, ViewerHistory

SLATE_SIZE = 120
"""Posts in a slate, including the reserve after the pages that are usually served. Changes the answer."""


@dataclass(frozen=True, slots=True)
class EngineAssignment:
    """The engine and the variant that serve a member. Decided once per request and passed on."""

    engine: str
    variant: str
    exposed_variant: ExposedVariant | None = None
    """The experiment's variant that the member is exposed to once they are served."""
    flags_version: str = ""
    """The version of the flags that decided this; empty if no flag did."""


WASM_ASSIGNMENT = EngineAssignment("wasm_simd", "wasm_conservative")
"""For a caller that always uses the WebAssembly engine, whatever the value of the flag."""


def assign_engine(member_id: str) -> EngineAssignment:
    """Return the engine and the variant that the flag gives this member."""
    # The version is read first. If a flag changes in between, the assignment counts as older than it is, never newer.
    version = flags_version()
    answer = answer_from_details(FLAG_CLIENT.get_boolean_details(ENGINE_FLAG, False, EvaluationContext(member_id)))
    if answer.value:
        variant = answer.variant or WASM_ASSIGNMENT.variant
        return EngineAssignment(WASM_ASSIGNMENT.engine, variant, answer.exposed_variant, version)
    return EngineAssignment("plain", answer.variant or "control", answer.exposed_variant, version)


def prefetch_facts(
    *, member_id: str | None = None, pk: int = 0, has_history: bool = False, post_ids: Sequence[int] = ()
) -> Prefetch | None:
    """
    Send the queries for the change log and for the facts that this process has not cached; do not wait for the answer.

    The facts are those of the member, by *member_id* (the platform's id) or *pk*, and of *post_ids*; *has_history* adds
    what ranking needs: seen posts, interests and negative feedback. None: nothing can be prefetched or cached now,
    so each fact is read where it is needed.
    """
    try:
        return wiring.resident_facts().prefetch(
            external_id=member_id, pk=pk, has_history=has_history, post_ids=post_ids
        )
    except DatabaseError:
        return None  # reading the facts without a prefetch then raises the error


def get_viewer(
    now: datetime, *, member_id: str | None = None, pk: int | None = None, prefetch: Prefetch | None = None
) -> Viewer:
    """
    Return the member as a viewer, as of when *prefetch* was sent; without one, as of now.

    Raises `UnknownMember`, `InactiveMember`, or `FactsUnavailable` if the database cannot be read.
    """
    try:
        viewer = wiring.resident_facts().get_viewer(now, external_id=member_id, pk=pk, prefetch=prefetch)
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
    feed_filter: FeedFilter | None = None,
) -> Query:
    """Return the query of *viewer* with all that the final check needs; `load_history` adds what ranking needs."""
    try:
        policy, policy_version = wiring.policies().get(assignment.variant)
    except DatabaseError as error:
        raise FactsUnavailable("The ranking policy cannot be read now. Try again shortly.") from error
    words = wiring.vocabularies()
    return Query(
        request_id=uuid4(),
        viewer_id=viewer.id,
        is_personalized=viewer.is_personalized,
        feed=feed,
        size=size,
        now=now.timestamp(),
        policy=policy,
        variant=assignment.variant,
        policy_version=policy_version,
        interests=Interests.empty(wiring.embedder().dimension),
        excluded_post_ids=excluded_post_ids,
        feed_filter=feed_filter or FeedFilter(),
        max_sensitivity=viewer.max_sensitivity,
        language_ids=words.languages.intern_ranges(viewer.languages),
        followed_author_ids=viewer.followed_author_ids,
        blocked_author_ids=viewer.blocked_author_ids,
        muted_author_ids=viewer.muted_author_ids,
        hidden_post_ids=viewer.hidden_post_ids,
        muted_tag_ids=words.tags.intern_all(viewer.muted_tags),
        muted_words=viewer.muted_words,
        region_id=words.regions.intern(viewer.region) if viewer.region else UNKNOWN,
    )


REQUESTED = ("request_id", "excluded_post_ids", "feed_filter", "policy", "policy_version")
"""The fields of a query that stay as they are while the facts of its viewer are read again."""


def refresh_query(
    query: Query, viewer: Viewer, assignment: EngineAssignment, prefetch: Prefetch | None
) -> tuple[Query, Viewer]:
    """Return the same query and viewer on current facts: those of *prefetch*, or read now without one."""
    now = datetime.fromtimestamp(query.now, UTC)
    current = get_viewer(now, member_id=viewer.external_id, prefetch=prefetch)
    if current is viewer:
        return query, viewer
    refreshed = build_query(current, assignment, feed=query.feed, now=now, size=query.size)
    requested = {name: getattr(query, name) for name in REQUESTED}
    return replace(refreshed, **requested), current


class FeedFilters(NamedTuple):
    """The posts that one request accepts, in the platform's words and ids. An empty filter accepts every post."""

    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_age_hours: float | None = None
    exclude: tuple[str, ...] = ()
    """Ids of posts to exclude."""


NO_FILTERS = FeedFilters()


def resolve_filters(filters: FeedFilters, now: datetime) -> tuple[FeedFilter, Int64Array]:
    """Return the filter of *filters* in internal ids, and the sorted ids (n,) of the posts to exclude."""
    if filters == NO_FILTERS:
        return FeedFilter(), EMPTY_IDS
    words = wiring.vocabularies()
    tag_ids = words.tags.intern_all(filters.tags)
    feed_filter = FeedFilter(
        language_ids=words.languages.intern_ranges(filters.languages),
        kind_ids=words.kinds.intern_all(filters.kinds),
        tag_ids=tag_ids,
        late_tagged_post_ids=wiring.catalogue().find_late_tagged(tag_ids),
        since=now.timestamp() - filters.max_age_hours * 3600 if filters.max_age_hours else 0.0,
        key=hashlib.blake2b(repr(filters).encode(), digest_size=8).hexdigest(),
    )
    return feed_filter, viewers.find_post_ids(filters.exclude)


def is_ranked_by_history(query: Query, viewer: Viewer) -> bool:
    """Return whether the feed is ranked by what its viewer did."""
    return query.feed == "discovery" and viewer.is_personalized


def load_history(query: Query, viewer: Viewer, assignment: EngineAssignment) -> tuple[Query, Viewer]:
    """
    Return *query* and *viewer* on current facts, with what ranking needs: seen posts and, if used, interests.

    One batch of queries reads the change log, the viewer and their history. Raises `FactsUnavailable`.
    """
    is_ranked = is_ranked_by_history(query, viewer)
    prefetch = prefetch_facts(pk=viewer.id, has_history=is_ranked)
    fatigue = Affinity()
    if is_ranked:  # Redis is read while the database answers
        half_life_seconds = query.policy.fatigue_half_life_hours * 3600
        # While a slate is fresh, its pages are served again as they are. So a page of that age has no fatigue either:
        # a slate that is built again earlier, because something changed, has the same posts.
        fatigue = wiring.served_history().fatigue(
            viewer.id, query.now, half_life_seconds, settings.ENV.slate_fresh_seconds
        )
    query, viewer = refresh_query(query, viewer, assignment, prefetch)
    if not query.uses_history:
        return query, viewer
    facts = wiring.resident_facts()
    try:
        if not is_ranked_by_history(query, viewer):
            return replace(query, seen_post_ids=facts.get_seen_posts(viewer.id).post_ids), viewer
        history = facts.get_history(viewer.id, wiring.resident_profiles(), prefetch)
        return add_history(query, viewer, history, fatigue), viewer
    except DatabaseError as error:
        raise FactsUnavailable("The viewer's history cannot be read now. Try again shortly.") from error


def add_history(query: Query, viewer: Viewer, history: ViewerHistory, fatigue: Affinity) -> Query:
    """
    Return *query* with the viewer's seen posts, interests, affinities, collaborative parts and fatigue.

    The affinities include what the viewer says they like.

    Raises `DatabaseError`.
    """
    now = datetime.fromtimestamp(query.now, UTC)
    dimension, words = wiring.embedder().dimension, wiring.vocabularies()
    taste = build_taste(
        history.profile, history.feedback, now, dimension, words, query.policy.session, viewer.interest_tags
    )
    return replace(
        query,
        seen_post_ids=history.seen.post_ids,
        interests=taste.interests,
        author_affinity=taste.author_affinity,
        topic_affinity=taste.topic_affinity,
        kind_affinity=taste.kind_affinity,
        like_count=int(np.count_nonzero(history.reactions > 0)),
        post_fatigue=fatigue,
        **score_reactions(history.reactions).query_fields,
    )
