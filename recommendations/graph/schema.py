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
from access.permissions import allow
from access.scopes import Scope
from monitoring.clock import now
from recommendations.api import serializers as s
from recommendations.graph import types as t
from recommendations.graph.cost import CostLimiter
from recommendations.services import work
from recommendations.services.errors import InvalidRequest
from recommendations.services.explaining import explain
from recommendations.services.learning import interact
from recommendations.services.members import preferences
from recommendations.services.serving.query import WASM_ASSIGNMENT, EngineAssignment, FeedFilters
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar

MOST_TOKENS, MOST_ALIASES, MOST_DEPTH = 2_000, 10, 10
"""Limits of one question; none that a page of any feed comes near. They change which questions are answered."""


Info = strawberry.Info[dict[str, Request], None]


def may(info: Info, scope: Scope, *members: object) -> None:
    """Refuse a key or token that may not do this, or not for these members; who has none was let in at the door."""
    caller = info.context["request"].auth
    if isinstance(caller, Caller):
        allow(caller, scope, members or None)


def page(
    info: Info,
    feed: str,
    member_id: str,
    first: int,
    after: str | None,
    explained: bool,
    only: t.Only | None,
    assignment: EngineAssignment | None = None,
) -> t.Feed:
    """Return a page of a feed as a connection."""
    may(info, Scope.FEEDS_READ, member_id)
    filters = FeedFilters()
    if only:
        lists = (tuple(only.languages), tuple(only.kinds), tuple(only.tags))
        filters = FeedFilters(*lists, only.max_age_hours, tuple(map(str, only.exclude)))
    found = recommend(
        member_id=member_id,
        feed=feed,
        limit=first,
        cursor=after,
        explain=explained,
        filters=filters,
        assignment=assignment,
        now=now(),
    )
    return t.Feed.of(found, after)


def checked(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes of preferences that the REST door would take, or refuse them."""
    rules = s.Preferences(data=changes, partial=True)
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
        only: t.Only | None = None,
    ) -> t.Feed:
        return page(info, "discovery", member_id, first, after, explain, only)

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
        only: t.Only | None = None,
    ) -> t.Feed:
        return page(info, "discovery", member_id, first, after, explain, only, WASM_ASSIGNMENT)

    @strawberry.field(description="A feed by its name: discovery, following, trending, non_personalized.")
    def feed(
        self,
        info: Info,
        name: str,
        member_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
        explain: bool = False,
        only: t.Only | None = None,
    ) -> t.Feed:
        return page(info, name, member_id, first, after, explain, only)

    @strawberry.field(description="Posts like this one that the viewer may see.")
    def similar_posts(
        self, info: Info, post_id: strawberry.ID, viewer_id: strawberry.ID, first: int = 10
    ) -> list[t.Picked]:
        may(info, Scope.FEEDS_READ, viewer_id)
        found = find_similar(post_id=post_id, viewer_id=viewer_id, limit=first, now=now())
        return [t.Picked.of(pick) for pick in found.picks]

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
    ) -> list[t.Picked]:
        may(info, Scope.FEEDS_READ, viewer_id)
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
        return [t.Picked.of(pick) for pick in found.picks]

    @strawberry.field(description="Why a viewer was shown a post, or was not.")
    def explain(self, info: Info, request_id: UUID, post_id: strawberry.ID, viewer_id: strawberry.ID) -> t.Explanation:
        may(info, Scope.FEEDS_READ, viewer_id)
        found = explain.explain(request_id=request_id, post_id=post_id, viewer_id=viewer_id, now=now())
        return t.Explanation.made_of(found)

    @strawberry.field(description="What a member wants and allows.")
    def preferences(self, info: Info, member_id: strawberry.ID) -> t.Preferences:
        may(info, Scope.PROFILE_READ, member_id)
        return t.Preferences.of(preferences.read_preferences(member_id=member_id))

    @strawberry.field(description="A job and how far it is; ask again every second or so.")
    def job(self, info: Info, id: UUID) -> t.Job:
        may(info, Scope.JOBS_READ)
        return t.Job.of(work.look_up(job_id=id))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Record what members did, up to 1000 events. A bad one loses none of the good.")
    def record_interactions(self, info: Info, events: list[t.EventInput]) -> list[t.EventResult]:
        may(info, Scope.INTERACTIONS_WRITE, *(event.member_id for event in events))
        if not 1 <= len(events) <= s.MAX_EVENTS:
            raise InvalidRequest(f"Send 1 to {s.MAX_EVENTS} events, not {len(events)}.", "/events")
        given = [{name: value for name, value in asdict(event).items() if value is not None} for event in events]
        done = interact.record(events=[interact.Event(**event) for event in given], now=now())
        return [t.EventResult.of(result) for result in done]

    @strawberry.mutation(description="Say which posts were on the member's screen. Returns how many of them we know.")
    def mark_seen(self, info: Info, member_id: strawberry.ID, post_ids: list[strawberry.ID]) -> int:
        may(info, Scope.INTERACTIONS_WRITE, member_id)
        if len(post_ids) > s.MAX_EVENTS:
            raise InvalidRequest(f"Send up to {s.MAX_EVENTS} posts, not {len(post_ids)}.", "/postIds")
        return interact.mark_seen(member_id=member_id, post_ids=post_ids, now=now())

    @strawberry.mutation(description="Change the preferences that are given.")
    def update_preferences(self, info: Info, member_id: strawberry.ID, changes: t.PreferencesInput) -> t.Preferences:
        may(info, Scope.PROFILE_WRITE, member_id)
        given = checked({name: value for name, value in asdict(changes).items() if value is not None})
        return t.Preferences.of(preferences.set_preferences(member_id=member_id, changes=given, now=now()))

    @strawberry.mutation(description="Follow, block or mute a member, or no longer. Twice is once.")
    def tie(self, info: Info, member_id: strawberry.ID, kind: str, other_id: strawberry.ID, on: bool = True) -> bool:
        may(info, Scope.PROFILE_WRITE, member_id)
        preferences.relate(member_id=member_id, kind=kind, other_id=other_id, is_on=on, now=now())
        return on

    @strawberry.mutation(description="Forget a member's taste.")
    def reset_profile(self, info: Info, member_id: strawberry.ID) -> bool:
        may(info, Scope.PROFILE_WRITE, member_id)
        preferences.reset(member_id=member_id, now=now())
        return True

    @strawberry.mutation(description="Have discovery feeds made for these members, or for all; follow the job.")
    def batch_discovery_feeds(
        self, info: Info, member_ids: list[strawberry.ID] | None = None, idempotency_key: str | None = None
    ) -> t.Job:
        may(info, Scope.JOBS_WRITE)
        params = {} if member_ids is None else {"member_ids": list(map(str, member_ids))}
        job = work.submit(kind="batch_feeds", params=params, now=now(), idempotency_key=idempotency_key)
        return t.Job.of(job)

    @strawberry.mutation(description="Ask for a job to stop; what is done stays done.")
    def cancel_job(self, info: Info, id: UUID) -> t.Job:
        may(info, Scope.JOBS_WRITE)
        return t.Job.of(work.cancel(job_id=id, now=now()))


@cache
def schema(introspection: bool) -> strawberry.Schema:
    """Return the schema, which tells of itself only if it may."""
    limits: list[Callable[[], SchemaExtension]] = [
        partial(QueryDepthLimiter, max_depth=MOST_DEPTH),
        partial(MaxAliasesLimiter, max_alias_count=MOST_ALIASES),
        partial(MaxTokensLimiter, max_token_count=MOST_TOKENS),
        CostLimiter,
    ]
    extensions = limits if introspection else [*limits, DisableIntrospection]
    return strawberry.Schema(Query, Mutation, extensions=extensions, config=StrawberryConfig(auto_camel_case=True))
