"""The GraphQL API: results, errors, limits and permissions, and the same pages as the REST API."""

import json
import logging
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from access import keys, tokens
from access.scopes import Scope
from monitoring.clock import now
from recommendations.contracts import REASON_SENTENCES
from recommendations.models import Interaction, Job, Relationship, SeenPost
from recommendations.services import wiring
from recommendations.services.serving import records
from recommendations.services.serving.query import EngineAssignment
from recommendations.services.vectors.embedding import embed_posts
from recommendations.stores import active_embedding_models, resident_facts, trained_models
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
FIELDS = (
    "requestId engine isCached edges { cursor node { post { id text } score reasons { code } parts { name value } } }"
)
FEED = f"""query($memberId: ID!, $first: Int!, $after: String, $explain: Boolean!) {{
  discoveryFeed(memberId: $memberId, first: $first, after: $after, explain: $explain) {{
    {FIELDS} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"""


@pytest.fixture
def world():
    at = now() - timedelta(days=1)
    ann, bob = factories.member("ann", at=at), factories.member("bob", at=at)
    factories.posts(bob, 60, at=at)
    factories.follow(ann, bob)
    embed_posts(embedder=wiring.embedder(), now=now())
    return ann, bob


@pytest.fixture
def query_api(world, client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))

    def query_api(query, status=200, **variables):
        body = json.dumps({"query": query, "variables": variables})
        response = client.post("/graphql", body, content_type="application/json")
        assert status is None or response.status_code == status, response.content
        return response.json()

    return query_api


def feed(query_api, **variables):
    return query_api(FEED, **{"memberId": "ann", "first": 20, "explain": False} | variables)["data"]["discoveryFeed"]


def code(response):
    return response["errors"][0]["extensions"]["code"]


def test_graphql_and_rest_serve_the_same_slate(query_api, client):
    graphql_page = feed(query_api, explain=True)
    rest_page = client.get("/api/v1/members/ann/feed?limit=20").json()
    assert (rest_page["request_id"], rest_page["is_cached"]) == (graphql_page["requestId"], True)
    assert [pick["post"]["id"] for pick in rest_page["picks"]] == [
        e["node"]["post"]["id"] for e in graphql_page["edges"]
    ]
    for edge in graphql_page["edges"]:
        parts = edge["node"]["parts"]
        assert sum(part["value"] for part in parts) == pytest.approx(edge["node"]["score"], abs=1e-3)
        assert edge["node"]["reasons"][0]["code"].upper() in {reason.name for reason in REASON_SENTENCES}


def test_pages_are_relay_connections_that_resume_at_any_edge(query_api):
    first = feed(query_api, first=10)
    assert first["pageInfo"]["hasNextPage"] and not first["pageInfo"]["hasPreviousPage"]
    second = feed(query_api, first=10, after=first["pageInfo"]["endCursor"])
    assert second["pageInfo"]["hasPreviousPage"]
    served = [edge["node"]["post"]["id"] for edge in first["edges"] + second["edges"]]
    assert len(set(served)) == 20
    next_page = feed(query_api, first=5, after=first["edges"][3]["cursor"])
    assert [edge["node"]["post"]["id"] for edge in next_page["edges"]] == served[4:9]


def test_a_longer_page_needs_no_more_sql_queries(query_api, monkeypatch):
    # No timer may change the number of queries.
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"catalogue_refresh_seconds": 1e6}))
    monkeypatch.setattr(active_embedding_models, "MODELS_REFRESH_SECONDS", 1e6)
    monkeypatch.setattr(trained_models, "CHECK_SECONDS", 1e6)
    monkeypatch.setattr(resident_facts, "TRIGGER_CHECK_SECONDS", 1e6)
    feed(query_api, first=5)

    def count_queries(first):
        wiring.slate_cache().purge([factories.Member.objects.get(external_id="ann").pk])
        wiring.resident_facts().clear()
        with CaptureQueriesContext(connection) as captured:
            assert len(feed(query_api, first=first)["edges"]) == first
        return len(captured)

    assert count_queries(5) == count_queries(50)


def test_the_control_and_wasm_feeds_differ_only_in_their_field(query_api, monkeypatch):
    monkeypatch.setattr(
        "recommendations.services.serving.recommend.assign_engine", lambda _: EngineAssignment("plain", "control")
    )
    pair = query_api("""{ control: discoveryFeed(memberId: "ann") { engine variant edges { node { post { id } } } }
        wasm: wasmDiscoveryFeed(memberId: "ann") { engine variant fallback edges { node { post { id } } } } }""")
    assert (pair["data"]["control"]["engine"], pair["data"]["wasm"]["engine"]) == ("plain", "wasm_simd")
    assert pair["data"]["wasm"]["fallback"] == ""


def test_a_wasm_feed_falls_back_to_the_control_engine(query_api, monkeypatch):
    def broken(*_):
        raise RuntimeError("trap")

    monkeypatch.setattr(type(wiring.engines()["wasm_simd"]), "score", broken)
    data = query_api('{ wasmDiscoveryFeed(memberId: "ann") { engine fallback edges { cursor } } }')["data"]
    assert data["wasmDiscoveryFeed"]["fallback"] == "plain"
    assert data["wasmDiscoveryFeed"]["edges"]


def test_the_other_queries(query_api):
    page = feed(query_api)
    records.record_served(now=now())
    post = page["edges"][0]["node"]["post"]["id"]
    data = query_api(
        """query($request: UUID!, $post: ID!) {
            explain(requestId: $request, postId: $post, viewerId: "ann") { status rank reasons { sentence } }
            similarPosts(postId: $post, viewerId: "ann", first: 3) { post { id } score }
            crossModalSearch(viewerId: "ann", space: "content", text: "about", first: 3) { post { id } }
            feed(name: "following", memberId: "ann", first: 2, filters: {kinds: ["text"]}) { edges { cursor } }
            preferences(memberId: "ann") { isPrivate languages }
        }""",
        request=page["requestId"],
        post=post,
    )["data"]
    assert data["explain"]["status"] == "served"
    assert len(data["similarPosts"]) == len(data["crossModalSearch"]) == 3
    assert len(data["feed"]["edges"]) == 2
    assert data["preferences"] == {"isPrivate": False, "languages": []}


def test_mutations(query_api, world):
    bob = world[1]
    post = bob.posts.first().external_id
    event = {"eventId": "e1", "memberId": "ann", "postId": post, "kind": "like"}
    data = query_api(
        """mutation($events: [EventInput!]!, $seen: [ID!]!) {
            recordInteractions(events: $events) { eventId status problem }
            markSeen(memberId: "ann", postIds: $seen)
            updatePreferences(memberId: "ann", changes: {mutedTags: ["war"], interestTags: ["art"]}) {
                mutedTags interestTags isPrivate
            }
            setRelationship(memberId: "ann", kind: "mute", targetId: "bob")
            resetProfile(memberId: "ann")
            batchDiscoveryFeeds(
                memberIds: ["ann"], idempotencyKey: "k", priority: "low", deadline: "2099-01-01T00:00:00Z"
            ) { id state total isFinished priority deadline isExpired }
        }""",
        events=[event, event, {"eventId": "e2", "memberId": "ann"}],
        seen=[post, "nothing"],
    )
    assert "errors" not in data, data["errors"]
    data = data["data"]
    assert [result["status"] for result in data["recordInteractions"]] == ["recorded", "duplicate", "rejected"]
    assert data["markSeen"] == 1
    assert data["updatePreferences"] == {"mutedTags": ["war"], "interestTags": ["art"], "isPrivate": False}
    assert Interaction.objects.count() == 1 and SeenPost.objects.exists()
    assert Relationship.objects.filter(kind="mute").count() == 1
    job = data["batchDiscoveryFeeds"]
    assert (job["priority"], job["deadline"], job["isExpired"]) == ("low", "2099-01-01T00:00:00+00:00", False)
    assert (
        query_api("query($id: UUID!) { job(id: $id) { kind state } }", id=job["id"])["data"]["job"]["kind"]
        == "batch_feeds"
    )
    assert Job.objects.count() == 1


# Errors


def test_an_anonymous_request_gets_a_401(world, client):
    response = client.post("/graphql", json.dumps({"query": "{ __typename }"}), content_type="application/json")
    assert response.status_code == 401
    assert response.json()["code"] == "not-authenticated"


def test_staff_need_the_csrf_token(admin_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    response = client.post("/graphql", json.dumps({"query": "{ __typename }"}), content_type="application/json")
    assert response.status_code == 403


def test_get_is_not_allowed(query_api, client):
    assert client.get("/graphql?query={__typename}").status_code == 405


@pytest.mark.parametrize(
    "body",
    ['"x"', "[]", '[{"query": "{ __typename }"}]', "{}", '{"query": 1}', '{"query": "{a}", "variables": []}', "{"],
)
def test_a_body_that_is_not_a_query_gets_a_problem(query_api, client, body):
    response = client.post("/graphql", body, content_type="application/json")
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    "query",
    [
        "{",
        "{ nothing }",
        "{ discoveryFeed { edges { cursor } } }",
        "{" + " ".join(f'a{n}: preferences(memberId: "ann") {{ region }}' for n in range(11)) + "}",
        "{ __typename " * 12 + "}" * 12,
        "{ " + "__typename " * 2_100 + "}",
        "{ ...F } fragment F on Query { ...F }",
        f'mutation {{ markSeen(memberId: "ann", postIds: {json.dumps(["p"] * 1_001)}) }}',
        "query A { __typename } query B { __typename }",
        "subscription { __typename }",
        f'{{ discoveryFeed(memberId: "ann", first: {"9" * 5_000}) {{ engine }} }}',
    ],
)
def test_an_invalid_or_oversized_query_gets_a_400(query_api, query):
    response = query_api(query, status=400)
    assert response["data"] is None
    assert response["errors"][0]["message"]


@pytest.mark.parametrize("place", [lambda items: items, lambda items: {"a": [{"b": items}]}])
def test_a_variable_with_a_list_that_no_argument_accepts_is_rejected(query_api, place):
    assert query_api("{ __typename }", unused=place(["\0"] * 10_001), status=400)["code"] == "invalid-request"
    assert "errors" not in query_api("{ __typename }", unused=place(["x"] * 10_000))


def test_a_query_above_the_cost_limit_is_not_executed(query_api):
    node = "node { post { id authorId text kind language tags media createdAt } score sources }"
    one = f'discoveryFeed(memberId: "ann", first: 100) {{ edges {{ cursor {node} }} }}'
    assert "errors" not in query_api(f"{{ {one} }}")
    assert "errors" not in query_api(f"query {{ ...F }} fragment F on Query {{ {one} }}")
    assert "errors" not in query_api(f"{{ ... on Query {{ {one} }} }}")
    many = " ".join(f"a{n}: {one}" for n in range(10))
    assert code(query_api(f"{{ {many} }}", status=400)) == "too-costly"
    assert code(query_api(f"query {{ ...F }} fragment F on Query {{ {many} }}", status=400)) == "too-costly"
    assert code(query_api(f"{{ ... on Query {{ {many} }} }}", status=400)) == "too-costly"


@pytest.mark.parametrize(
    "query, expected",
    [
        ('{ discoveryFeed(memberId: "nobody") { engine } }', "unknown-member"),
        ('{ discoveryFeed(memberId: "ann", first: 1000) { engine } }', "invalid-request"),
        ('{ discoveryFeed(memberId: "ann", after: "x") { engine } }', "invalid-request"),
        ('{ feed(name: "nothing", memberId: "ann") { engine } }', "invalid-request"),
        ('{ similarPosts(postId: "nothing", viewerId: "ann") { score } }', "unknown-post"),
        ('{ job(id: "6f2d6f0e-3a57-4a4c-9a5e-0b6a3c1c2f11") { state } }', "unknown-job"),
        ('mutation { setRelationship(memberId: "ann", kind: "love", targetId: "bob") }', "invalid-request"),
        ('mutation { updatePreferences(memberId: "ann", changes: {sensitivity: "x"}) { region } }', "invalid-request"),
        ("mutation { recordInteractions(events: []) { status } }", "invalid-request"),
        ('mutation { markSeen(memberId: "ann", postIds: []) }', "invalid-request"),
        ('{ similarPosts(postId: "p", viewerId: "ann", first: 101) { score } }', "invalid-request"),
        ('{ crossModalSearch(viewerId: "ann", vector: [1, 2]) { score } }', "invalid-request"),
        (
            f'{{ discoveryFeed(memberId: "ann", filters: {{tags: {json.dumps(["t"] * 21)}}}) {{ engine }} }}',
            "invalid-request",
        ),
        ('{ discoveryFeed(memberId: "ann", filters: {maxAgeHours: 1e300}) { engine } }', "invalid-request"),
        ('{ discoveryFeed(memberId: "ann", filters: {kinds: [""]}) { engine } }', "invalid-request"),
    ],
)
def test_an_error_of_a_service_has_the_code_of_the_rest_api(query_api, query, expected):
    response = query_api(query)
    assert code(response) == expected
    assert response["errors"][0]["extensions"]["request_id"]


def test_an_unexpected_error_reveals_no_details(query_api, monkeypatch, caplog):
    def broken(**_):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("recommendations.graphql_api.schema.recommend", broken)
    with caplog.at_level(logging.ERROR):
        response = query_api('{ discoveryFeed(memberId: "ann") { engine } }')
    assert code(response) == "internal-error"
    assert "hunter2" not in json.dumps(response)
    assert "hunter2" in caplog.text


def test_keys_introspect_if_the_setting_allows_it_and_staff_always(world, client, monkeypatch):
    query = "{ __schema { queryType { fields { name description } } } }"
    assert code(with_key(client, query, "feeds:read").json()) == "invalid-query"
    for role, is_allowed in (("Editor", True), ("Viewer", False)):
        client.force_login(factories.staff(role))
        response = client.post("/graphql", {"query": query}, content_type="application/json")
        assert ("wasmDiscoveryFeed" in response.content.decode()) == is_allowed
    client.logout()
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"graphql_introspection": True}))
    assert "wasmDiscoveryFeed" in json.dumps(with_key(client, query, "feeds:read").json())


# Keys and tokens


def with_key(client, query, *scopes):
    secret = keys.create(name="test", scopes=scopes, now=now())[1]
    body = json.dumps({"query": query})
    return client.post("/graphql", body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"})


def test_each_field_requires_its_own_scope(world, client):
    both = '{ discoveryFeed(memberId: "ann") { engine } preferences(memberId: "ann") { region } }'
    response = with_key(client, both, "feeds:read").json()
    assert code(response) == "missing-scope"
    assert "profile:read" in response["errors"][0]["message"]
    assert "errors" not in with_key(client, both, "feeds:read", "profile:read").json()
    changes = 'mutation { resetProfile(memberId: "ann") batchDiscoveryFeeds { id } }'
    response = with_key(client, changes, "feeds:read", "profile:write").json()
    assert [error["path"] for error in response["errors"]] == [["batchDiscoveryFeeds"]]
    assert with_key(client, both, "posts:read").status_code == 403


def test_a_member_token_accesses_only_its_member(world, client):
    scopes = [Scope.FEEDS_READ, Scope.INTERACTIONS_WRITE]
    token = tokens.mint_token(member_id="ann", scopes=scopes, ttl_seconds=60, now=now())
    header = {"Authorization": f"Bearer {token}"}

    def query_api(query):
        body = json.dumps({"query": query})
        return client.post("/graphql", body, content_type="application/json", headers=header).json()

    assert "errors" not in query_api('{ discoveryFeed(memberId: "ann") { engine } }')
    for query in (
        '{ discoveryFeed(memberId: "bob") { engine } }',
        '{ similarPosts(postId: "x", viewerId: "bob") { score } }',
        'mutation { recordInteractions(events: [{eventId: "1", memberId: "bob", postId: "x"}]) { status } }',
        'mutation { markSeen(memberId: "nobody", postIds: []) }',
    ):
        assert code(query_api(query)) == "different-member", query
    assert code(query_api('{ job(id: "6f2d6f0e-3a57-4a4c-9a5e-0b6a3c1c2f11") { state } }')) == "missing-scope"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"], ids=["NUL", "half of a surrogate pair"])
@pytest.mark.parametrize("position", ["literal", "variable", "query"])
def test_a_text_that_no_database_can_store_is_an_error_of_the_client(query_api, text, position):
    escaped = json.dumps(text)
    requests = {
        "literal": (f"{{ discoveryFeed(memberId: {escaped}) {{ requestId }} }}", {}),
        "variable": ("query($id: ID!) { discoveryFeed(memberId: $id) { requestId } }", {"id": text}),
        "query": (f'{{ discoveryFeed(memberId: "ann") {{ requestId }} }} # {text}', {}),
    }
    query, variables = requests[position]
    response = query_api(query, status=None, **variables)
    assert response.get("data") is None
    assert any(word in json.dumps(response) for word in ("NUL", "surrogate", "Invalid Unicode"))


@pytest.mark.parametrize("field", ["eventId", "memberId", "occurredAt", "requestId", "kind"])
def test_a_bad_value_of_an_event_costs_this_event_only(query_api, field):
    good = {"eventId": "good", "memberId": "ann", "postId": "p", "kind": "like"}
    bad = good | {"eventId": "bad", field: "a\0b"}
    document = "mutation($e: [EventInput!]!) { recordInteractions(events: $e) { eventId status problem } }"
    results = query_api(document, e=[bad, good])["data"]["recordInteractions"]
    assert results[0]["status"] == "rejected" and results[0]["problem"]
    assert results[0]["eventId"] == (None if field == "eventId" else "bad")
    assert results[1]["eventId"] == "good" and "post_id" in results[1]["problem"]
