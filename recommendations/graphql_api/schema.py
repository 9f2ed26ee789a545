"""The questions and the changes. Each resolver calls one service: what a page costs does not grow with its length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import Any
from uuid import UUID

import strawberry
from rest_framework.request import Request
from strawberry.extensions import (
    DisableIntrospection,
    MaxAliasesLimiter,
    MaxTokensLimiter,
    QueryDepthLimiter,
    SchemaExtension,
)
from strawberry.schema.config import StrawberryConfig

from access.callers import Caller
from access.permissions import require_access
from access.scopes import Scope
from monitoring.clock import now
from recommendations.api import serializers as s
from recommendations.graphql_api import types as t
from recommendations.graphql_api.cost import CostLimiter
from recommendations.services import work
from recommendations.services.errors import InvalidRequest
from recommendations.services.explaining import explain
from recommendations.services.learning import interact
from recommendations.services.members import preferences
from recommendations.services.serving.query import WASM_ASSIGNMENT, EngineAssignment, FeedFilters
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar

MAX_TOKENS, MAX_ALIASES, MAX_DEPTH = 2_000, 10, 10
"""Limits of one question; none that a page of any feed comes near. They change which questions are answered."""


Info = strawberry.Info[dict[str, Request], None]


def require_scope(info: Info, scope: Scope, *members: object) -> None:
    """Refuse a key or token that may not do this, or not for these members; who has none was let in at the door."""
    caller = info.context["request"].auth
    if isinstance(caller, Caller):
        require_access(caller, scope, members or None)


def resolve_feed(
    info: Info,
    feed: str,
    member_id: str,
    first: int,
    after: str | None,
    explain: bool,
    filters: t.FeedFilterInput | None,
    assignment: EngineAssignment | None = None,
) -> t.Feed:
    """Return a page of a feed as a connection."""
    require_scope(info, Scope.FEEDS_READ, member_id)
    feed_filters = FeedFilters()
    if filters:
        lists = (tuple(filters.languages), tuple(filters.kinds), tuple(filters.tags))
        feed_filters = FeedFilters(*lists, filters.max_age_hours, tuple(map(str, filters.exclude_post_ids)))
    found = recommend(
        member_id=member_id,
        feed=feed,
        limit=first,
        cursor=after,
        explain=explain,
        filters=feed_filters,
        assignment=assignment,
        now=now(),
    )
    return t.Feed.from_service(found, after)


def validate_preferences(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes of preferences that the REST door would take, or refuse them."""
    rules = s.PreferencesBody(data=changes, partial=True)
    if not rules.is_valid():
        name, wrong = next(iter(rules.errors.items()))
        raise InvalidRequest(f"{name}: {' '.join(map(str, wrong))}", f"/changes/{name}")
    return dict(rules.validated_data)


@strawberry.type
class Query:
    @strawberry.field(description="What this member is likely to enjoy, by the engine that the flag gives them.")
    def discovery_feed(
        self,
        info: Info,
        member_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
        explain: bool = False,
        filters: t.FeedFilterInput | None = None,
    ) -> t.Feed:
        return resolve_feed(info, "discovery", member_id, first, after, explain, filters)

    @strawberry.field(
        description="The same by the WebAssembly engine whatever the flag says, with the control engine behind it."
    )
    def wasm_discovery_feed(
        self,
        info: Info,
        member_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
        explain: bool = False,
        filters: t.FeedFilterInput | None = None,
    ) -> t.Feed:
        return resolve_feed(info, "discovery", member_id, first, after, explain, filters, WASM_ASSIGNMENT)

    @strawberry.field(description="A feed by its name: discovery, following, trending, non_personalized.")
    def feed(
        self,
        info: Info,
        name: str,
        member_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
        explain: bool = False,
        filters: t.FeedFilterInput | None = None,
    ) -> t.Feed:
        return resolve_feed(info, name, member_id, first, after, explain, filters)

    @strawberry.field(description="Posts like this one that the viewer may see.")
    def similar_posts(
        self, info: Info, post_id: strawberry.ID, viewer_id: strawberry.ID, first: int = 10
    ) -> list[t.Pick]:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        found = find_similar(post_id=post_id, viewer_id=viewer_id, limit=first, now=now())
        return [t.Pick.from_service(pick) for pick in found.picks]

    @strawberry.field(description="Posts near a text or a post in a space where texts and pictures meet.")
    def cross_modal_search(
        self,
        info: Info,
        viewer_id: strawberry.ID,
        space: str = "image",
        text: str = "",
        post_id: strawberry.ID | None = None,
        vector: list[float] | None = None,
        kind: str = "",
        first: int = 10,
    ) -> list[t.Pick]:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        found = search(
            viewer_id=viewer_id,
            space=space,
            text=text,
            post_id=post_id or "",
            vector=vector,
            kind=kind,
            limit=first,
            now=now(),
        )
        return [t.Pick.from_service(pick) for pick in found.picks]

    @strawberry.field(description="Why a viewer was shown a post, or was not.")
    def explain(self, info: Info, request_id: UUID, post_id: strawberry.ID, viewer_id: strawberry.ID) -> t.Explanation:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        found = explain.explain(request_id=request_id, post_id=post_id, viewer_id=viewer_id, now=now())
        return t.Explanation.from_service(found)

    @strawberry.field(description="What a member wants and allows.")
    def preferences(self, info: Info, member_id: strawberry.ID) -> t.Preferences:
        require_scope(info, Scope.PROFILE_READ, member_id)
        return t.Preferences.from_service(preferences.read_preferences(member_id=member_id))

    @strawberry.field(description="A job and how far it is; ask again every second or so.")
    def job(self, info: Info, id: UUID) -> t.Job:
        require_scope(info, Scope.JOBS_READ)
        return t.Job.from_service(work.read_job(job_id=id))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Record what members did, up to 1000 events. A bad one loses none of the good.")
    def record_interactions(self, info: Info, events: list[t.EventInput]) -> list[t.EventResult]:
        require_scope(info, Scope.INTERACTIONS_WRITE, *(event.member_id for event in events))
        if not 1 <= len(events) <= s.MAX_ITEMS:
            raise InvalidRequest(f"Send 1 to {s.MAX_ITEMS} events, not {len(events)}.", "/events")
        given = [{name: value for name, value in asdict(event).items() if value is not None} for event in events]
        done = interact.record_events(events=[interact.Event(**event) for event in given], now=now())
        return [t.EventResult.from_service(result) for result in done]

    @strawberry.mutation(description="Say which posts were on the member's screen. Returns how many of them we know.")
    def mark_seen(self, info: Info, member_id: strawberry.ID, post_ids: list[strawberry.ID]) -> int:
        require_scope(info, Scope.INTERACTIONS_WRITE, member_id)
        if len(post_ids) > s.MAX_ITEMS:
            raise InvalidRequest(f"Send up to {s.MAX_ITEMS} posts, not {len(post_ids)}.", "/postIds")
        return interact.mark_seen(member_id=member_id, post_ids=post_ids, now=now())

    @strawberry.mutation(description="Change the preferences that are given.")
    def update_preferences(self, info: Info, member_id: strawberry.ID, changes: t.PreferencesInput) -> t.Preferences:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        given = validate_preferences({name: value for name, value in asdict(changes).items() if value is not None})
        return t.Preferences.from_service(preferences.set_preferences(member_id=member_id, changes=given, now=now()))

    @strawberry.mutation(description="Follow, block or mute a member, or no longer. Twice is once.")
    def set_relationship(
        self, info: Info, member_id: strawberry.ID, kind: str, target_id: strawberry.ID, is_on: bool = True
    ) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        preferences.set_relationship(member_id=member_id, kind=kind, other_id=target_id, is_on=is_on, now=now())
        return is_on

    @strawberry.mutation(description="Forget a member's taste.")
    def reset_profile(self, info: Info, member_id: strawberry.ID) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        preferences.reset_interests(member_id=member_id, now=now())
        return True

    @strawberry.mutation(description="Have discovery feeds made for these members, or for all; follow the job.")
    def batch_discovery_feeds(
        self, info: Info, member_ids: list[strawberry.ID] | None = None, idempotency_key: str | None = None
    ) -> t.Job:
        require_scope(info, Scope.JOBS_WRITE)
        params = {} if member_ids is None else {"member_ids": list(map(str, member_ids))}
        job = work.submit_job(kind="batch_feeds", params=params, now=now(), idempotency_key=idempotency_key)
        return t.Job.from_service(job)

    @strawberry.mutation(description="Ask for a job to stop; what is done stays done.")
    def cancel_job(self, info: Info, id: UUID) -> t.Job:
        require_scope(info, Scope.JOBS_WRITE)
        return t.Job.from_service(work.cancel_job(job_id=id, now=now()))


@cache
def build_schema(has_introspection: bool) -> strawberry.Schema:
    """Return the schema, which tells of itself only if it may."""
    limits: list[Callable[[], SchemaExtension]] = [
        partial(QueryDepthLimiter, max_depth=MAX_DEPTH),
        partial(MaxAliasesLimiter, max_alias_count=MAX_ALIASES),
        partial(MaxTokensLimiter, max_token_count=MAX_TOKENS),
        CostLimiter,
    ]
    extensions = limits if has_introspection else [*limits, DisableIntrospection]
    return strawberry.Schema(Query, Mutation, extensions=extensions, config=StrawberryConfig(auto_camel_case=True))
