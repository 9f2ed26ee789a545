"""Attacks in which a member reads or writes as another member, and requests that two parsers would read differently."""

import encodings
import json
import pkgutil
import time
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from django.urls import get_resolver
from drf_spectacular.generators import SchemaGenerator

OPERATIONS = [
    (path, method.upper(), operation)
    for path, methods in SchemaGenerator().get_schema(request=None, public=True)["paths"].items()
    for method, operation in methods.items()
]
ABOUT_A_VIEWER = [
    path
    for path, method, operation in OPERATIONS
    if method == "GET" and any(p["name"] == "viewer_id" and p["in"] == "query" for p in operation.get("parameters", ()))
]
OF_A_MEMBER = [(path, method) for path, method, _ in OPERATIONS if "{member_id}" in path]
WITH_A_BODY = [(path, method) for path, method, operation in OPERATIONS if "requestBody" in operation]
JSON = "application/json"
REQUEST_ID = "00000000-0000-0000-0000-000000000000"
SEARCH = "space=image&post_id=open"
"""The other parameters of a search, so that it is refused because of its viewer only."""
TEXT = "victim tells followers about an operation"

SECOND_NAMES = {
    "plain": "viewer_id",
    "encoded": "%76iewer_id",
    "all encoded": "".join(f"%{ord(letter):02x}" for letter in "viewer_id"),
    "upper case encoding": "%76%69%65%77%65%72%5F%69%64",
}
CONTENT_TYPES = {
    "none": {},
    "JSON": {"Content-Type": JSON},
    "EBCDIC": {"Content-Type": "text/plain; charset=cp037"},
    "EBCDIC JSON": {"Content-Type": f"{JSON}; charset=cp037"},
    "UTF-16": {"Content-Type": "text/plain; charset=utf-16"},
}


@pytest.fixture(scope="module", autouse=True)
def people(server):
    """Add a member whose token the attacker has, and a private member with a post."""
    server.add_members("reader", "follower")
    server.add_members("victim", is_private=True)
    server.add_posts("secret", author_id="victim", visibility="followers", text=TEXT)
    server.add_posts("open", author_id="reader")
    vectors = [{"post_id": post_id, "vector": [1] + [0] * 7} for post_id in ("secret", "open")]
    body = {"embedding_model": "pictures", "vectors": vectors}
    assert server.send("PUT", "/api/v1/spaces/image/vectors", body, credential=server.key).status == 200
    deadline = time.monotonic() + 60
    while server.send("GET", f"/api/v1/search?{SEARCH}&viewer_id=reader", credential=server.key).status != 200:
        assert time.monotonic() < deadline, "the server does not use the new vectors"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def token(server):
    return server.token("reader")


def fill(path, member_id="victim"):
    """Return a path of the OpenAPI schema with values for its parameters."""
    values = {"member_id": member_id, "post_id": "open", "target_id": "follower", "kind": "mute", "space": "text"}
    values |= {"request_id": REQUEST_ID, "job_id": REQUEST_ID, "key": "x", "variant": "x"}
    parts = [part.partition("}") for part in path.split("{")]
    return parts[0][0] + "".join(quote(values.get(name, "1")) + rest for name, _, rest in parts[1:])


def fill_with(path, query):
    """Return a path with values for its parameters and this query, to which a search adds its own parameters."""
    return f"{fill(path)}?{SEARCH}&{query}" if path == "/api/v1/search" else f"{fill(path)}?{query}"


def assert_refused(response, *statuses):
    assert response.status in statuses, (response.status, response.body[:300])
    assert TEXT.encode() not in response.body


# Queries


@pytest.mark.parametrize("path", ABOUT_A_VIEWER)
def test_the_token_of_a_viewer_works_for_its_own_member_only(server, token, path):
    assert server.send("GET", fill_with(path, "viewer_id=reader"), credential=token).status in (200, 404)
    assert_refused(server.send("GET", fill_with(path, "viewer_id=victim"), credential=token), 403)


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("name", SECOND_NAMES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ABOUT_A_VIEWER)
def test_a_second_viewer_in_the_query_is_refused(server, token, path, method, name, content_type):
    for query in (f"viewer_id=reader&{SECOND_NAMES[name]}=victim", f"{SECOND_NAMES[name]}=victim&viewer_id=reader"):
        response = server.send(method, fill_with(path, query), credential=token, headers=CONTENT_TYPES[content_type])
        assert_refused(response, 400, 415)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ABOUT_A_VIEWER)
def test_a_viewer_in_a_body_does_not_replace_the_viewer_in_the_query(server, token, path, method):
    response = server.send(method, fill_with(path, "viewer_id=victim"), {"viewer_id": "reader"}, credential=token)
    if method == "OPTIONS":
        assert "picks" not in response.json()
    else:
        assert_refused(response, 403)


def test_a_query_string_is_utf_8(server):
    """As bytes and percent-encoded; other bytes are refused, and not replaced by a character."""
    for query, status in {"prefix=%C3%BC": 200, "prefix=%FC": 400, "prefix=%00": 400}.items():
        assert server.send("GET", f"/api/v1/members?{query}", credential=server.key).status == status, query


@pytest.mark.parametrize("path", ["/api/v1/members", "/api/schema/", "/api/docs/"])
def test_a_query_with_very_many_parameters_is_refused(server, path):
    query = "&".join(f"p{n}=1" for n in range(2000))
    response = server.send("GET", f"{path}?{query}", credential=server.key)
    assert (response.status, response.headers["Content-Type"]) == (400, "application/problem+json")


# Paths


@pytest.mark.parametrize(("path", "method"), OF_A_MEMBER)
def test_every_address_of_a_member_refuses_the_token_of_another(server, token, path, method):
    """Also if the body or the query names the token's own member."""
    body = None if method == "GET" else {"member_id": "reader", "viewer_id": "reader", "id": "reader"}
    url = f"{fill(path)}?member_id=reader&viewer_id=reader"
    assert_refused(server.send(method, url, body, credential=token), 403)


@pytest.mark.parametrize("member_id", ["%76ictim", "victim/", "victim%2F", "reader/../victim", "reader%2F..%2Fvictim"])
def test_another_spelling_of_a_path_is_not_another_member(server, token, member_id):
    assert_refused(server.send("GET", f"/api/v1/members/{member_id}/preferences", credential=token), 403, 404)


# Bodies


def event(event_id, member_id):
    return {"event_id": event_id, "member_id": member_id, "post_id": "open", "kind": "like"}


def test_events_are_accepted_only_if_all_are_of_the_tokens_member(server, token):
    for events in (
        [event("i-1", "victim")],
        [event("i-2", "reader"), event("i-3", "victim")],
        [event("i-6", "reader"), event("i-7", "victim") | {"kind": "unknown"}, event("i-8", "victim")],
    ):
        assert_refused(server.send("POST", "/api/v1/interactions", {"events": events}, credential=token), 403)
    sent = server.send("POST", "/api/v1/interactions", {"events": [event("i-2", "reader")]}, credential=token)
    assert sent.json()["recorded"] == 1, "the refused request recorded none of its events"
    events = [event("i-4", "reader"), event("i-5", " victim ")]
    answer = server.send("POST", "/api/v1/interactions", {"events": events}, credential=token)
    assert [result["status"] for result in answer.json()["results"]] == ["recorded", "rejected"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/search", '{"viewer_id": "reader", "viewer_id": "victim", "vector": [0,0,0,0,0,0,0,1]}'),
        ("POST", "/api/v1/interactions", '{"events": [], "events": [{"event_id": "x", "member_id": "victim"}]}'),
        ("POST", "/ofrep/v1/evaluate/flags", '{"context": {"targetingKey": "reader", "targetingKey": "victim"}}'),
        (
            "POST",
            "/graphql",
            '{"query": "{ __typename }", "query": "{ preferences(memberId: \\"victim\\") { region } }"}',
        ),
    ],
    ids=["search", "interactions", "OFREP", "GraphQL"],
)
def test_a_name_that_is_given_twice_in_a_body_is_refused(server, token, method, path, body):
    response = server.send(method, path, body.encode(), credential=token, headers={"Content-Type": JSON})
    assert_refused(response, 400)


@pytest.mark.parametrize("body", ["[" * 5000, '{"a":' * 40, "+AFs-" * 5000], ids=["lists", "objects", "UTF-7"])
def test_a_deep_body_is_refused(server, token, body):
    headers = {"Content-Type": JSON}
    for path in ("/api/v1/interactions", "/graphql", "/ofrep/v1/evaluate/flags"):
        assert server.send("POST", path, body.encode(), credential=token, headers=headers).status == 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "cp037"])
def test_a_body_in_another_encoding_is_not_guessed(server, token, encoding):
    content = json.dumps({"context": {"targetingKey": "victim"}}).encode(encoding)
    sent = server.send("POST", "/ofrep/v1/evaluate/flags", content, credential=token, headers={"Content-Type": JSON})
    assert_refused(sent, 400)


GRAPHQL_FIELDS = [
    '{discoveryFeed(memberId:"victim"){requestId}}',
    '{similarPosts(postId:"open",viewerId:"victim"){score}}',
    '{crossModalSearch(viewerId:"victim",text:"x"){score}}',
    '{preferences(memberId:"victim"){region}}',
    'mutation{resetProfile(memberId:"victim")}',
    'mutation{markSeen(memberId:"victim",postIds:["open"])}',
    'mutation{recordInteractions(events:[{eventId:"g1",memberId:"victim",postId:"open",kind:"like"}]){status}}',
]


@pytest.mark.parametrize("query", GRAPHQL_FIELDS)
def test_a_graphql_field_about_another_member_is_refused(server, token, query):
    answer = server.send("POST", "/graphql", {"query": query}, credential=token).json()
    assert answer["errors"][0]["extensions"]["code"] == "different-member"
    assert not any((answer["data"] or {}).values())


@pytest.mark.parametrize(
    ("method", "content_type", "body"),
    [
        ("GET", None, None),
        ("HEAD", None, None),
        ("POST", "application/graphql", b"{ __typename }"),
        ("POST", "application/x-www-form-urlencoded", b"query=%7B__typename%7D"),
        (
            "POST",
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n{a}\r\n--x--',
        ),
        ("POST", "text/plain", b'{"query": "{ __typename }"}'),
    ],
)
def test_graphql_takes_only_json_by_post(server, token, method, content_type, body):
    headers = {"Content-Type": content_type} if content_type else {}
    path = "/graphql?query=%7B__typename%7D"
    assert server.send(method, path, body, credential=token, headers=headers).status in (405, 415)


# Encodings


def all_routes():
    """Return an address of every URL pattern, whatever its parameters are."""

    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern).strip("^$")
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns, route)
            elif "(" not in route:
                yield "/" + "".join(part.split(">")[-1] if ">" in part else part for part in route.split("<"))

    return sorted(set(walk(get_resolver().url_patterns, "")) - {"/livez"})


CODECS = sorted(
    {*(module.name for module in pkgutil.iter_modules(encodings.__path__)), "unknown", "utf-8; charset=cp037"}
)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("charset", ["cp037", "hex"])
def test_every_address_refuses_a_charset_other_than_utf_8(server, method, charset):
    """API, admin, explorer, health checks and webhooks, before they read anything. /livez reads nothing at all."""
    routes = all_routes()
    assert len(routes) > 100 and "/admin/login/" in routes and "/graphql" in routes and "/alertmanager" in routes
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    answered = {path: server.send(method, f"{path}?a=%41", b"a=b", headers=headers).status for path in routes}
    assert {path: status for path, status in answered.items() if status != 415} == {}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/api/v1/interactions", "/graphql", "/ofrep/v1/evaluate/flags", "/admin/login/"])
def test_no_codec_of_python_decodes_a_request(server, token, path, method):
    """Neither its query nor its body. Some take quadratic time, some fail, and some are no character encoding."""
    query, body = "a=b%2d" + "kva" * 1000, b'{"a": "' + b"kva" * 1000 + b'"}'
    accepted = []
    for codec in CODECS:
        headers = {"Content-Type": f"{JSON}; charset={codec}"}
        response = server.send(method, f"{path}?{query}", body, credential=token, headers=headers)
        if response.status != 415:
            accepted.append(codec)
    assert accepted == ["utf_8"] or accepted == []


@pytest.mark.parametrize(
    "parameters",
    [
        ";" * 300_000,
        "; a=b" * 50,
        "; boundary=" + "x" * 300,
        "; x*=punycode''b%2d" + "kva" * 1000,
        "; x*=unknown''a",
        "; charset*=utf-8''utf-8",
    ],
    ids=["semicolons", "many parameters", "a long parameter", "a codec", "an unknown codec", "an encoded charset"],
)
def test_a_content_type_that_is_costly_to_parse_is_refused(server, token, parameters):
    """Also without a body. 300 KB of semicolons took nine seconds, and an unknown codec caused a 500."""
    for method, path in (("GET", "/api/v1/members/reader/feed"), ("POST", "/graphql"), ("GET", "/account/login/")):
        headers = {"Content-Type": f"{JSON}{parameters}"}
        assert server.send(method, path, credential=token, headers=headers).status == 415, (method, path)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd"])
def test_a_compressed_body_is_refused(server, token, coding):
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    assert server.send("POST", "/graphql", b"{}", credential=token, headers=headers).status == 415


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
def test_every_operation_with_a_body_refuses_other_content_types(server, content_type):
    assert len(WITH_A_BODY) > 20
    answered = {}
    for path, method in WITH_A_BODY:
        headers = {"Content-Type": content_type}
        answered[method, path] = server.send(method, fill(path), b"{}", credential=server.key, headers=headers).status
    assert {place: status for place, status in answered.items() if status != 415} == {}


# Headers


def test_a_header_with_an_underscore_is_not_another_header(server):
    headers = {"AUTHORIZATION_": f"Bearer {server.key}", "HTTP_AUTHORIZATION": f"Bearer {server.key}"}
    assert server.send("GET", "/api/v1/jobs", headers=headers).status == 401


def test_a_token_is_not_valid_before_its_time(server):
    now = int(datetime.now(UTC).timestamp())
    assert (
        server.send("GET", "/api/v1/members/reader/feed", credential=server.token("reader", nbf=now + 600)).status
        == 401
    )
    assert (
        server.send("GET", "/api/v1/members/reader/feed", credential=server.token("reader", nbf=now - 5)).status == 200
    )
