"""Queries and mutations. Each resolver calls one service, so a longer page needs no more SQL queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache, partial
from typing import Any, cast
from uuid import UUID

import strawberry
from graphql.validation import MaxIntrospectionDepthRule
from rest_framework.serializers import Serializer
from strawberry.extensions import AddValidationRules, DisableIntrospection, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from access import permissions
from access.languages import choose_language
from access.scopes import Scope
from monitoring.clock import now
from recommendations.api import serializers as s
from recommendations.api.interactions import parse_event, record_events
from recommendations.api.item_lists import parse_items
from recommendations.api.senders import get_sender, get_submitter
from recommendations.contracts import CONTENT_SPACE
from recommendations.graphql_api import types as t
from recommendations.services import work
from recommendations.services.errors import InvalidRequest
from recommendations.services.explaining import explain
from recommendations.services.learning import interact
from recommendations.services.members import follow_requests, preferences
from recommendations.services.serving.query import WASM_ASSIGNMENT, EngineAssignment, FeedFilters
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from values.problems import InvalidValueError
from values.types import Id, Uuid, read

Info = strawberry.Info[dict[str, Any], None]
"""The context has the `request`, and the parsed `document` of `cost.Operation`."""


def require_scope(info: Info, scope: Scope, *member_ids: object) -> None:
    """Raise `PermissionDenied` if the caller lacks *scope*, or is a token that may not access these members."""
    permissions.require_scope(info.context["request"], scope, member_ids or None)


def check_ids(**ids: str) -> None:
    """Raise `InvalidRequest` for an id that no member and no post can have."""
    for name, value in ids.items():
        try:
            read(Id, value)
        except InvalidValueError as error:
            raise InvalidRequest(f"{name}: {error}", f"/{name}") from None


def read_uuid(name: str, value: object) -> UUID:
    """Return the UUID in an argument. Raises `InvalidRequest`."""
    try:
        return cast(UUID, read(Uuid, value))
    except InvalidValueError as error:
        raise InvalidRequest(f"{name}: {error}", f"/{name}") from None


def find_language(info: Info, member_languages: Sequence[str]) -> str:
    """Return the language of the sentences in a field: that of the request, or of the field's member."""
    return choose_language(info.context["request"].headers.get("Accept-Language", ""), member_languages)


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
    check_ids(memberId=member_id)
    given = filters or t.FeedFilterInput()
    query = {
        "feed": feed,
        "limit": first,
        "cursor": after,
        "language": given.languages,
        "kind": given.kinds,
        "tag": given.tags,
        "exclude_post_id": given.exclude_post_ids,
        "max_age_hours": given.max_age_hours,
    }
    query = {name: value for name, value in query.items() if value is not None}
    values = validate(s.FeedQuery, query, pointers=FEED_POINTERS)
    page = recommend(
        member_id=member_id,
        feed=values["feed"],
        limit=values["limit"],
        cursor=values["cursor"],
        explain=explain,
        filters=FeedFilters(
            languages=tuple(values["language"]),
            kinds=tuple(values["kind"]),
            tags=tuple(values["tag"]),
            max_age_hours=values["max_age_hours"],
            exclude=tuple(values["exclude_post_id"]),
        ),
        assignment=assignment,
        now=now(),
    )
    return t.Feed.from_service(page, after, find_language(info, page.languages))


FEED_POINTERS = {
    "limit": "/first",
    "cursor": "/after",
    "feed": "/name",
    "language": "/filters/languages",
    "kind": "/filters/kinds",
    "tag": "/filters/tags",
    "exclude_post_id": "/filters/excludePostIds",
    "max_age_hours": "/filters/maxAgeHours",
}
"""Pointers to the values of a feed that the REST API names differently."""


def validate(
    serializer: type[Serializer[Any]],
    values: dict[str, Any],
    *,
    partial: bool = False,
    pointers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """
    Return *values* as validated by a serializer of the REST API, so that both have the same limits.

    Raises `InvalidRequest` for the first invalid value, with its pointer if *pointers* has one.
    """
    form = serializer(data=values, partial=partial)
    if not form.is_valid():
        name, messages = next(iter(form.errors.items()))
        texts = messages if isinstance(messages, list) else [text for item in messages.values() for text in item]
        raise InvalidRequest(f"{name}: {' '.join(map(str, texts))}", (pointers or {}).get(name, f"/{name}"))
    return dict(form.validated_data)


@strawberry.type
class Query:
    @strawberry.field(description="Recommended posts, from the engine that the feature flag assigns to the member.")
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

    @strawberry.field(description="Recommended posts from the WebAssembly engine, with the control engine as fallback.")
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

    @strawberry.field(description="A feed by name: discovery, following, trending or non_personalized.")
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

    @strawberry.field(description="Similar posts that the viewer may see.")
    def similar_posts(
        self, info: Info, post_id: strawberry.ID, viewer_id: strawberry.ID, first: int = 10
    ) -> list[t.Pick]:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        check_ids(postId=post_id)
        values = validate(s.SimilarQuery, {"viewer_id": viewer_id, "limit": first}, pointers=FEED_POINTERS)
        page = find_similar(post_id=post_id, now=now(), **values)
        return t.build_picks(page, find_language(info, page.languages))

    @strawberry.field(description="Posts similar to a text, a post or a vector. Texts and pictures share a space.")
    def cross_modal_search(
        self,
        info: Info,
        viewer_id: strawberry.ID,
        space: str = CONTENT_SPACE,
        text: str = "",
        post_id: strawberry.ID | None = None,
        vector: list[float] | None = None,
        kind: str = "",
        first: int = 10,
    ) -> list[t.Pick]:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        query = {"viewer_id": viewer_id, "space": space, "kind": kind, "limit": first}
        values = validate(s.SearchQuery, query | {"text": text, "post_id": post_id or ""})
        if vector is not None:
            values |= validate(s.SearchBody, query | {"vector": vector})
        page = search(now=now(), **values)
        return t.build_picks(page, find_language(info, page.languages))

    @strawberry.field(description="Why a post was served to a viewer, or was not.")
    def explain(self, info: Info, request_id: UUID, post_id: strawberry.ID, viewer_id: strawberry.ID) -> t.Explanation:
        require_scope(info, Scope.FEEDS_READ, viewer_id)
        check_ids(postId=post_id, viewerId=viewer_id)
        request = read_uuid("requestId", request_id)
        explanation = explain.explain(request_id=request, post_id=post_id, viewer_id=viewer_id, now=now())
        return t.Explanation.from_service(explanation, find_language(info, explanation.languages))

    @strawberry.field(description="The preferences of a member.")
    def preferences(self, info: Info, member_id: strawberry.ID) -> t.Preferences:
        require_scope(info, Scope.PROFILE_READ, member_id)
        check_ids(memberId=member_id)
        return t.Preferences.from_service(preferences.read_preferences(member_id=member_id))

    @strawberry.field(description="Pending follow requests that a member has received (incoming) or sent (outgoing).")
    def follow_requests(
        self,
        info: Info,
        member_id: strawberry.ID,
        direction: str = "incoming",
        first: int = 20,
        after: str | None = None,
    ) -> t.FollowRequests:
        require_scope(info, Scope.PROFILE_READ, member_id)
        check_ids(memberId=member_id)
        query = {"direction": direction, "limit": first} | ({} if after is None else {"cursor": after})
        values = validate(s.FollowRequestsQuery, query, pointers=FEED_POINTERS)
        page = follow_requests.list_follow_requests(member_id=member_id, **values)
        return t.FollowRequests.from_service(page)

    @strawberry.field(description="A job and its progress. Poll it once per second.")
    def job(self, info: Info, id: UUID) -> t.Job:
        require_scope(info, Scope.JOBS_READ)
        return t.Job.from_service(work.read_job(job_id=read_uuid("id", id)))


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Record up to 1000 events. An invalid event does not affect the others.")
    def record_interactions(self, info: Info, events: list[t.EventInput]) -> list[t.EventResult]:
        require_scope(info, Scope.INTERACTIONS_WRITE, *(event.member_id for event in events))
        if not events:
            raise InvalidRequest(f"Send 1 to {s.MAX_ITEMS} events, not 0.", "/events")
        fields = [{name: value for name, value in asdict(event).items() if value is not None} for event in events]
        parsed = [parse_event(item, index) for index, item in enumerate(fields)]
        results = record_events(parsed, get_sender(info.context["request"]))
        return [t.EventResult.from_result(result) for result in results]

    @strawberry.mutation(description="Mark posts as seen by the member. Returns how many of them the member may see.")
    def mark_seen(self, info: Info, member_id: strawberry.ID, post_ids: list[strawberry.ID]) -> int:
        require_scope(info, Scope.INTERACTIONS_WRITE, member_id)
        check_ids(memberId=member_id)
        ids = parse_items(validate(s.UncheckedSeenPosts, {"post_ids": post_ids}), "post_ids", s.id_field())
        return interact.mark_seen(member_id=member_id, post_ids=list(ids.valid.values()), now=now())

    @strawberry.mutation(description="Update the given preferences.")
    def update_preferences(self, info: Info, member_id: strawberry.ID, changes: t.PreferencesInput) -> t.Preferences:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        check_ids(memberId=member_id)
        given = {name: value for name, value in asdict(changes).items() if value is not None}
        pointers = {name: f"/changes/{name}" for name in given}
        values = validate(s.PreferencesBody, given, partial=True, pointers=pointers)
        return t.Preferences.from_service(preferences.set_preferences(member_id=member_id, changes=values, now=now()))

    @strawberry.mutation(description="Create or delete a follow, follow_request, block or mute. Idempotent.")
    def set_relationship(
        self, info: Info, member_id: strawberry.ID, kind: str, target_id: strawberry.ID, is_on: bool = True
    ) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        check_ids(memberId=member_id, targetId=target_id)
        preferences.set_relationship(
            member_id=member_id,
            kind=kind,
            target_id=target_id,
            is_on=is_on,
            is_sent_by_member=permissions.is_sent_by_member(info.context["request"]),
            now=now(),
        )
        return is_on

    @strawberry.mutation(description="Let the sender of a pending follow request follow the member.")
    def approve_follow_request(self, info: Info, member_id: strawberry.ID, requester_id: strawberry.ID) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        check_ids(memberId=member_id, requesterId=requester_id)
        follow_requests.approve_follow_request(member_id=member_id, requester_id=requester_id)
        return True

    @strawberry.mutation(description="Delete a pending follow request. Idempotent.")
    def decline_follow_request(self, info: Info, member_id: strawberry.ID, requester_id: strawberry.ID) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        check_ids(memberId=member_id, requesterId=requester_id)
        follow_requests.decline_follow_request(member_id=member_id, requester_id=requester_id)
        return True

    @strawberry.mutation(description="Reset a member's learned interests.")
    def reset_profile(self, info: Info, member_id: strawberry.ID) -> bool:
        require_scope(info, Scope.PROFILE_WRITE, member_id)
        check_ids(memberId=member_id)
        preferences.reset_interests(member_id=member_id, now=now())
        return True

    @strawberry.mutation(description="Submit a job that builds discovery feeds for these members, or for all members.")
    def batch_discovery_feeds(
        self,
        info: Info,
        member_ids: list[strawberry.ID] | None = None,
        priority: str | None = None,
        deadline: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> t.Job:
        require_scope(info, Scope.JOBS_WRITE)
        params = {} if member_ids is None else {"member_ids": list(map(str, member_ids))}
        key = validate(s.IdempotencyKey, {"idempotency_key": idempotency_key})["idempotency_key"]
        options = validate(s.JobOptions, {"priority": priority, "deadline": deadline})
        submitter = get_submitter(info.context["request"])
        job = work.submit_job(
            kind="batch_feeds", params=params, now=now(), idempotency_key=key, submitter=submitter, **options
        )
        return t.Job.from_service(job)

    @strawberry.mutation(description="Request that a job stops. Completed work is not reverted.")
    def cancel_job(self, info: Info, id: UUID) -> t.Job:
        require_scope(info, Scope.JOBS_WRITE)
        return t.Job.from_service(work.cancel_job(job_id=read_uuid("id", id), now=now()))


def pass_value(value: object) -> object:
    """Return the value as it was sent: the resolver reads it, so that a bad one costs only its item of a list."""
    return value


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A time: RFC 3339 with an offset.",
        serialize=datetime.isoformat,
        parse_value=pass_value,
    ),
    UUID: strawberry.scalar(name="UUID", description="A UUID.", serialize=str, parse_value=pass_value),
}


class ParsedDocument(SchemaExtension):
    """Executes the document of the context, which is within the limits, instead of parsing the query again."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context["document"]
        yield


@cache
def build_schema(has_introspection: bool) -> strawberry.Schema:
    """Return the schema, with or without introspection."""
    rules = partial(AddValidationRules, [MaxIntrospectionDepthRule])
    extensions: list[Callable[[], SchemaExtension]] = [ParsedDocument, rules]
    if not has_introspection:
        extensions.append(DisableIntrospection)
    config = StrawberryConfig(auto_camel_case=True, scalar_map=SCALARS)
    return strawberry.Schema(Query, Mutation, extensions=extensions, config=config)
