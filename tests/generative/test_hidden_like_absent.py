"""
Hidden is answered like absent: for every address of the REST API and every field of the GraphQL schema, and each
position in which a request names a post or a member.

The addresses, fields and positions are taken from the URL configuration, the OpenAPI schema and the GraphQL schema. A
new one fails `test_every_position_is_classified` until it is listed here: with a request that names a post or a member
in it, or among the positions that name neither.
"""

import json
import re
from dataclasses import dataclass

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from graphql import GraphQLInputObjectType, get_named_type

from access import tokens, usage
from access.scopes import MEMBER_SCOPES
from access.views import NO_INPUTS, APIView
from monitoring.clock import now
from recommendations.contracts import Sensitivity, Visibility
from recommendations.embedders.tiny import TinyText
from recommendations.graphql_api.schema import build_schema
from recommendations.graphql_api.view import GraphQLView
from recommendations.models import FeedRequest, Member, Post, PrivacySettings
from recommendations.services.members.profile_file import schema as profile_schema
from recommendations.stores import active_embedding_models, resident_facts, trained_models
from tests import factories
from tests.integration.test_access import all_views

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

ID = "-ID-"
"""Stands for the id of a post or member in the requests below."""
THEN = "2026-01-01T00:00:00Z"
VIEWER = "/api/v1/members/viewer"
REQUEST_ID = "6c0a2e7e-6a0e-4c53-8a3c-0123456789ab"
"""A feed request of the viewer."""
KINDS = ("view", "like", "follow", "hide", "report", "not_interested")
TARGETS = ("author", "topic", "kind")


@dataclass(frozen=True)
class Case:
    """A request that names a post or a member in one position."""

    operation: str
    """The method and the address, or the GraphQL field."""
    position: str
    """The path parameter, query parameter, field of the body or GraphQL argument; an item of a list ends with []."""
    names: str
    """post or member; closed if no member's token may send the request."""
    method: str
    path: str
    body: str
    may_store: bool = False
    """Whether the request stores a row for a hidden member, so that it needs more queries than for an absent one."""

    def request(self, id):
        """Return the method, the address and the body for this id."""
        return self.method, self.path.replace(ID, id), self.body.replace(ID, id)


def rest(position, names, method, path, body=None, **options):
    address = address_of(resolve(path.split("?")[0]).route)
    return Case(f"{method} {address}", position, names, method, path, json.dumps(body) if body else "", **options)


def graphql(position, names, query, **options):
    field = re.search(r"{ (\w+)", query)[1]
    return Case(field, position, names, "POST", "/graphql", json.dumps({"query": query}), **options)


def address_of(route):
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def events(*changes):
    event = {"member_id": "viewer", "post_id": "seen-one", "kind": "view"}
    return {"events": [{"event_id": f"e{number}"} | event | change for number, change in enumerate(changes)]}


def profile(**fields):
    return {"format": "recsys-profile", "version": 1} | fields


def feedback(target):
    return profile(negative_feedback=[{"target": target, "post_id": ID, "event_id": "e", "created_at": THEN}])


def build_rest_post_cases():
    yield rest("exclude_post_id[]", "post", "GET", f"{VIEWER}/feed?exclude_post_id={ID}&fields=post.id")
    for change in [{"kind": kind} for kind in KINDS] + [{"kind": KINDS[-1], "target": target} for target in TARGETS]:
        yield rest("events[].post_id", "post", "POST", "/api/v1/interactions", events({"post_id": ID} | change))
    yield rest("events[].post_id", "post", "POST", "/api/v1/interactions", events({}, {"post_id": ID}, {}))
    yield rest("post_ids[]", "post", "POST", f"{VIEWER}/seen", {"post_ids": [ID, "seen-one"]})
    yield rest("post_id", "post", "GET", f"/api/v1/posts/{ID}/similar?viewer_id=viewer")
    yield rest("post_id", "post", "GET", f"/api/v1/requests/{REQUEST_ID}/explain/{ID}?viewer_id=viewer")
    yield rest("post_id", "post", "GET", f"/api/v1/search?viewer_id=viewer&space=content&post_id={ID}")
    for target in ("post", *TARGETS):
        yield rest("negative_feedback[].post_id", "post", "PUT", f"{VIEWER}/profile", feedback(target))
    seen = profile(seen=[{"post_id": ID, "seen_at": THEN}])
    yield rest("seen[].post_id", "post", "PUT", f"{VIEWER}/profile", seen)


def build_rest_member_cases():
    """Yield requests that name another member, and requests in which the viewer tries to act as another member."""
    for kind in ("follow", "follow_request", "block", "mute"):
        path, may_store = f"{VIEWER}/relationships/{kind}/{ID}", kind in ("block", "mute")
        yield rest("target_id", "member", "PUT", path, may_store=may_store)
        yield rest("target_id", "member", "DELETE", path)
        if kind != "follow_request":
            file = profile(relationships={kind: [ID]})
            yield rest(f"relationships.{kind}[]", "member", "PUT", f"{VIEWER}/profile", file)
    for method in ("PUT", "DELETE"):
        yield rest("requester_id", "member", method, f"{VIEWER}/follow-requests/{ID}")
        yield rest("member_id", "member", method, f"/api/v1/members/{ID}/follow-requests/author")
        yield rest("member_id", "member", method, f"/api/v1/members/{ID}/relationships/follow/author")
    empty = dict.fromkeys(("positive", "positive_mass", "negative", "negative_mass"), "")
    interests = {"embedding_model": TinyText().name, "dimension": TinyText().dimension, "reference_at": THEN} | empty
    file = profile(interests=interests | {"affinities": {"author": {ID: 1.0}}})
    yield rest("interests.affinities.author[]", "member", "PUT", f"{VIEWER}/profile", file)
    yield rest("member_id (body)", "member", "PUT", f"{VIEWER}/profile", profile(member_id=ID))
    for rest_of_path in ("feed", "candidate-pack", "preferences", "follow-requests", "profile", "show-less-effects"):
        yield rest("member_id", "member", "GET", f"/api/v1/members/{ID}/{rest_of_path}")
    yield rest("member_id", "member", "GET", f"/api/v1/interactions?member_id={ID}")
    yield rest("member_id", "member", "POST", f"/api/v1/members/{ID}/seen", {"post_ids": ["seen-one"]})
    yield rest("member_id", "member", "PATCH", f"/api/v1/members/{ID}/preferences", {"region": "DE"})
    yield rest("member_id", "member", "PUT", f"/api/v1/members/{ID}/profile", profile())
    yield rest("member_id", "member", "POST", f"/api/v1/members/{ID}/reset")
    yield rest("events[].member_id", "member", "POST", "/api/v1/interactions", events({"member_id": ID}))
    yield rest("events[].member_id", "member", "POST", "/api/v1/interactions", events({}, {"member_id": ID}))
    yield rest("viewer_id", "member", "GET", f"/api/v1/posts/seen-one/similar?viewer_id={ID}")
    yield rest("viewer_id", "member", "GET", f"/api/v1/requests/{REQUEST_ID}/explain/seen-one?viewer_id={ID}")
    yield rest("viewer_id", "member", "GET", f"/api/v1/search?viewer_id={ID}&text=bread")
    yield rest("viewer_id", "member", "POST", "/api/v1/search", {"viewer_id": ID, "vector": [1.0] * 8})
    for path in ("/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/wasm_recommendations"):
        yield rest("context", "member", "POST", path, {"context": {"targetingKey": ID}})
    # Not for the list, whose ETag is a digest of the context in the request.
    yield rest("context", "member", "POST", path, {"context": {"targetingKey": "viewer", "friend": ID}})


def build_graphql_cases():
    for field, name in (("discoveryFeed", ""), ("wasmDiscoveryFeed", ""), ("feed", 'name: "trending", ')):
        picks = "candidateCount edges { node { post { id } } }"
        excluded = f'{name}memberId: "viewer", filters: {{excludePostIds: ["{ID}"]}}'
        yield graphql("filters.excludePostIds[]", "post", f"{{ {field}({excluded}) {{ {picks} }} }}")
        yield graphql("memberId", "member", f'{{ {field}({name}memberId: "{ID}") {{ {picks} }} }}')
    for field, own, other, picks in (
        ("similarPosts", "", "", "score"),
        ("crossModalSearch", 'space: "content", ', 'space: "content", ', "score"),
        ("explain", f'requestId: "{REQUEST_ID}", ', f'requestId: "{REQUEST_ID}", ', "status"),
    ):
        yield graphql("postId", "post", f'{{ {field}({own}postId: "{ID}", viewerId: "viewer") {{ {picks} }} }}')
        yield graphql("viewerId", "member", f'{{ {field}({other}postId: "seen-one", viewerId: "{ID}") {{ {picks} }} }}')
    for field, rest_of_query in (("preferences", "region"), ("followRequests", "nextCursor")):
        yield graphql("memberId", "member", f'{{ {field}(memberId: "{ID}") {{ {rest_of_query} }} }}')
    for position, names, member_id, post_id in (
        ("events.postId[]", "post", "viewer", ID),
        ("events.memberId[]", "member", ID, "seen-one"),
    ):
        for kind in KINDS:
            event = f'{{eventId: "e", memberId: "{member_id}", postId: "{post_id}", kind: "{kind}"}}'
            query = f"mutation {{ recordInteractions(events: [{event}]) {{ status problem }} }}"
            yield graphql(position, names, query)
    yield graphql("postIds[]", "post", f'mutation {{ markSeen(memberId: "viewer", postIds: ["{ID}"]) }}')
    yield graphql("memberId", "member", f'mutation {{ markSeen(memberId: "{ID}", postIds: ["seen-one"]) }}')
    changes = f'memberId: "{ID}", changes: {{region: "DE"}}'
    yield graphql("memberId", "member", f"mutation {{ updatePreferences({changes}) {{ region }} }}")
    yield graphql("memberId", "member", f'mutation {{ resetProfile(memberId: "{ID}") }}')
    own = f'memberId: "{ID}", kind: "follow", targetId: "author"'
    yield graphql("memberId", "member", f"mutation {{ setRelationship({own}) }}")
    for kind in ("follow", "follow_request", "block", "mute"):
        for is_on in ("true", "false"):
            other = f'memberId: "viewer", kind: "{kind}", targetId: "{ID}", isOn: {is_on}'
            may_store = is_on == "true" and kind in ("block", "mute")
            yield graphql("targetId", "member", f"mutation {{ setRelationship({other}) }}", may_store=may_store)
    for field in ("approveFollowRequest", "declineFollowRequest"):
        own, other = f'memberId: "{ID}", requesterId: "author"', f'memberId: "viewer", requesterId: "{ID}"'
        yield graphql("memberId", "member", f"mutation {{ {field}({own}) }}")
        yield graphql("requesterId", "member", f"mutation {{ {field}({other}) }}")
    job = "00000000-0000-0000-0000-000000000000"
    yield graphql("id", "closed", f'{{ job(id: "{job}") {{ state }} }}')
    yield graphql("id", "closed", f'mutation {{ cancelJob(id: "{job}") {{ state }} }}')
    yield graphql("memberIds[]", "closed", f'mutation {{ batchDiscoveryFeeds(memberIds: ["{ID}"]) {{ id }} }}')


CASES = (*build_rest_post_cases(), *build_rest_member_cases(), *build_graphql_cases())
POST_CASES, MEMBER_CASES, CLOSED_CASES = (
    [case for case in CASES if case.names == names] for names in ("post", "member", "closed")
)
NAME_NEITHER = """
    feed limit cursor explain language[] kind tag[] kind[] max_age_hours fields[] request_id key direction space text
    vector[] events[].event_id events[].kind events[].target events[].undoes_event_id events[].value
    events[].occurred_at events[].request_id languages[] region is_private is_personalized sensitivity muted_words[]
    muted_tags[] format version exported_at preferences.languages[] preferences.region preferences.is_private
    preferences.is_personalized preferences.sensitivity preferences.muted_words[] preferences.muted_tags[]
    negative_feedback[].target negative_feedback[].event_id negative_feedback[].created_at seen[].seen_at
    interests.embedding_model interests.dimension interests.positive interests.positive_mass interests.negative
    interests.negative_mass interests.affinities.topic[] interests.affinities.kind[] interests.reference_at
    interests.interaction_count omitted.follow omitted.block omitted.mute omitted.negative_feedback omitted.seen
    name first after requestId filters.languages[] filters.kinds[] filters.tags[] filters.maxAgeHours isOn
    events.eventId[] events.kind[] events.target[] events.undoesEventId[] events.value[] events.occurredAt[]
    events.requestId[] changes.languages[] changes.region changes.isPrivate changes.isPersonalized changes.sensitivity
    changes.mutedWords[] changes.mutedTags[] idempotencyKey variant interest_tags[] preferences.interest_tags[]
    changes.interestTags[] priority deadline
"""
"""Positions that name neither a post nor a member. An event id is the sender's own; a request id is checked as such."""


# The operations and their positions, as the service declares them


def rest_operations():
    """Return (method, address, view, whether a member's token may use it) of every operation of the REST API."""
    for route, view in all_views():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            # The OpenAPI schema and its page are public, and no views of this service.
            is_own = issubclass(view, APIView) and view is not GraphQLView and not route.startswith("^")
            if is_own and hasattr(view, method.lower()):
                scope = getattr(view, "scopes", {}).get(method)
                operation = getattr(getattr(view, method.lower()), "operation", NO_INPUTS)
                has_members = "member_id" in route or operation.member_ids is not None
                yield method, address_of(route), view, scope in MEMBER_SCOPES and has_members


def schema_positions(schema, components, prefix=""):
    """Return the positions of a JSON schema: the paths of its leaves."""
    for key in ("allOf", "anyOf"):
        for part in schema.get(key, ()):
            yield from schema_positions(part, components, prefix)
    if "$ref" in schema:
        yield from schema_positions(components[schema["$ref"].rsplit("/", 1)[-1]], components, prefix)
    elif "properties" in schema:
        for name, part in schema["properties"].items():
            yield from schema_positions(part, components, f"{prefix}.{name}".lstrip("."))
    elif schema.get("type") == "array":
        yield from schema_positions(schema["items"], components, f"{prefix}[]")
    elif schema.get("type") == "object" and "targetingKey" not in str(schema) and prefix != "context":
        yield f"{prefix}[]"  # the keys of a mapping
    elif schema.get("type") != "null" and "allOf" not in schema and "anyOf" not in schema:
        yield prefix


def rest_positions():
    """Return {(operation, position)} of the operations that a member's token may use."""
    openapi = SchemaGenerator().get_schema(request=None, public=True)
    components = openapi["components"]["schemas"]
    profile_file = profile_schema.ProfileFile.model_json_schema()
    positions = set()
    for method, path, _, is_open in rest_operations():
        if not is_open:
            continue
        operation = openapi["paths"][path][method.lower()]
        found = [
            name
            for parameter in operation.get("parameters", ())
            if parameter["in"] != "header"
            for name in schema_positions(parameter["schema"], components, parameter["name"])
        ]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            found += schema_positions(content["schema"], components)
        if path.endswith("/profile") and method == "PUT":  # the schema of the file declares its objects
            file_positions = schema_positions(profile_file, profile_file["$defs"])
            found = ["member_id", *(f"{name} (body)" if name == "member_id" else name for name in file_positions)]
        positions.update((f"{method} {path}", position) for position in found)
    return positions


def argument_positions(argument_type, prefix):
    """Return the positions of a GraphQL argument."""
    named, suffix = get_named_type(argument_type), "[]" if "[" in str(argument_type) else ""
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            for position in argument_positions(field.type, f"{prefix}.{name}"):
                yield position if position.endswith("[]") else position + suffix
    else:
        yield prefix + suffix


def graphql_positions():
    """Return {(field, position)} of every field of the GraphQL schema that clients can request at the top."""
    schema = build_schema(True)._schema
    return {
        (name, position)
        for root in (schema.query_type, schema.mutation_type)
        for name, field in root.fields.items()
        for argument, definition in field.args.items()
        for position in argument_positions(definition.type, argument)
    }


def test_every_position_is_classified():
    neither, cases = set(NAME_NEITHER.split()), {(case.operation, case.position) for case in CASES}
    declared = rest_positions() | graphql_positions()
    assert len(declared) > 100
    assert not cases - declared, "cases of positions that do not exist"
    assert not {(operation, position) for operation, position in declared - cases if position not in neither}
    used = {position for _, position in declared - cases}
    assert used >= neither, neither - used


# The answers


HIDE_POST = {
    "for followers": lambda post: Post.objects.filter(pk=post.pk).update(visibility=Visibility.FOLLOWERS),
    "taken down": lambda post: Post.objects.filter(pk=post.pk).update(removed_at=now()),
    "blocked by the author": lambda post: factories.block(post.author, viewer()),
    "blocked by the viewer": lambda post: factories.block(viewer(), post.author),
    "private": lambda post: Post.objects.filter(pk=post.pk).update(visibility=Visibility.PRIVATE),
    "unlisted": lambda post: Post.objects.filter(pk=post.pk).update(visibility=Visibility.UNLISTED),
    "of a private account": lambda post: PrivacySettings.objects.filter(member=post.author).update(is_private=True),
    "of a deactivated member": lambda post: Member.objects.filter(pk=post.author_id).update(is_active=False),
    "of a member without settings": lambda post: PrivacySettings.objects.filter(member=post.author).delete(),
    "too sensitive": lambda post: Post.objects.filter(pk=post.pk).update(sensitivity=Sensitivity.ADULT),
    "forbidden": lambda post: Post.objects.filter(pk=post.pk).update(sensitivity=Sensitivity.FORBIDDEN),
    "a follow is pending": lambda post: (
        PrivacySettings.objects.filter(member=post.author).update(is_private=True),
        factories.relationship(viewer(), "follow_request", post.author),
    ),
}
HIDE_MEMBER = {
    "blocks the viewer": lambda member: factories.block(member, viewer()),
    "is deactivated": lambda member: Member.objects.filter(pk=member.pk).update(is_active=False),
}
CHEAP = ("for followers", "taken down", "blocked by the author")


def viewer():
    return Member.objects.get(external_id="viewer")


def nightly_unless_cheap(ways):
    return [pytest.param(way, marks=() if way in CHEAP else pytest.mark.nightly) for way in ways]


STANDING_TIMERS = (
    (resident_facts, "TRIGGER_CHECK_SECONDS"),
    (trained_models, "CHECK_SECONDS"),
    (active_embedding_models, "MODELS_REFRESH_SECONDS"),
)
"""What a process reads again after a while. In these tests it does not, since the number of queries is compared."""


@pytest.fixture
def send(client, monkeypatch):
    """Return a function that sends a request with the viewer's token; nothing that the request stores is kept."""
    changes = {"api_open": False, "rate_per_member": 0, "write_rate_per_member": 0, "catalogue_refresh_seconds": 1e6}
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=changes))
    for module, name in STANDING_TIMERS:
        monkeypatch.setattr(module, name, 1e6)
    # Counts of responses are sent every few seconds, and store an alert about many rejected ones.
    monkeypatch.setattr(usage.UsageRecorder, "record_response", lambda *_: None)
    text = tokens.mint_token(member_id="viewer", scopes=sorted(MEMBER_SCOPES), now=now(), ttl_seconds=600)
    headers = {"Authorization": f"Bearer {text}"}

    def send(method, path, body=""):
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            response = client.generic(method, path, body, content_type="application/json", headers=headers)
            transaction.set_rollback(True)
        return response, len(queries)

    return send


@pytest.fixture
def post(send):
    """Create the viewer with a feed request, a visible post, and a post that the tests hide. Return the latter."""
    author = factories.member("author", at=now())
    factories.post(author, "seen-one", text="bread", at=now())
    hidden_author = factories.member("hidden-m", at=now())
    post = factories.post(hidden_author, "hidden-1", text="a secret", tags=["divorce"], kind="diary", at=now())
    factories.embed_all_posts(at=now())
    FeedRequest.objects.create(
        id=REQUEST_ID,
        member=factories.member("viewer", at=now()),
        feed="discovery",
        engine="plain",
        variant="control",
        policy_version=1,
        post_ids=b"",
        parts=b"",
        origins=b"",
        created_at=now(),
    )
    return post


def comparable(response, id):
    """Return the status, body and headers of a response without ids, times and durations."""
    text = response.content.decode().replace(id, "…")
    for pattern in (
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)",
        r'"duration_ms":[\d.e+-]+',
    ):
        text = re.sub(pattern, "…", text)
    headers = {name: value for name, value in response.headers.items() if name not in DIFFERENT_HEADERS}
    return response.status_code, text, headers


DIFFERENT_HEADERS = ("X-Request-ID", "Content-Length")
"""The length of a body differs with the digits of the duration in it; the bodies themselves are compared."""


def assert_answered_alike(send, case, hidden, absent):
    """Send the request for the hidden and the absent id, each twice, since a cache could answer one of them faster."""
    send(*case.request("another1"))
    answers, query_counts = {}, {}
    for id in (hidden, absent) * 2:
        response, count = send(*case.request(id))
        answers.setdefault(id, []).append(comparable(response, id))
        query_counts.setdefault(id, []).append(count)
    assert answers[hidden] == answers[absent], case
    assert case.may_store or query_counts[hidden] == query_counts[absent], case
    status, text, _ = answers[hidden][0]
    assert status < 500 and "divorce" not in text and "diary" not in text, case
    return status, text


@pytest.mark.parametrize("way", nightly_unless_cheap(HIDE_POST))
def test_a_hidden_post_is_answered_like_an_absent_one(post, send, way):
    HIDE_POST[way](post)
    for case in POST_CASES:
        assert_answered_alike(send, case, "hidden-1", "absent-1")


@pytest.mark.parametrize("way", HIDE_MEMBER)
def test_a_hidden_member_is_answered_like_an_absent_one(post, send, way):
    HIDE_MEMBER[way](post.author)
    for case in MEMBER_CASES:
        assert_answered_alike(send, case, "hidden-m", "absent-m")


def test_what_is_closed_to_members_is_refused_before_anything_is_looked_up(post, send):
    closed = [(method, path) for method, path, _, is_open in rest_operations() if not is_open]
    assert len(closed) > 30
    for method, path in closed:
        filled = re.sub(r"{(member|post|target|requester)_id}", ID, path)
        filled = re.sub(r"{(job|approval|request|erasure)_id}", REQUEST_ID, filled)
        filled = re.sub(r"{\w+}", "1", filled)
        status, text = assert_answered_alike(
            send, Case(path, "path", "closed", method, filled, ""), "hidden-1", "absent-1"
        )
        assert status == 403, (method, path, text)
    for case in CLOSED_CASES:
        assert "missing-scope" in assert_answered_alike(send, case, "hidden-m", "absent-m")[1]


def test_the_same_requests_have_effects_on_a_visible_post(post, send):
    """Otherwise the tests above would compare nothing but errors."""
    answers = {id: [comparable(send(*c.request(id))[0], id) for c in POST_CASES] for id in ("hidden-1", "absent-1")}
    pairs = zip(POST_CASES, answers["hidden-1"], answers["absent-1"], strict=True)
    alike = {case.operation for case, visible, absent in pairs if visible == absent}
    assert alike <= {"GET /api/v1/members/{member_id}/feed", "feed"}
