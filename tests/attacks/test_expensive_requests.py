"""Attacks in which one cheap request makes the service do the work of many."""

import base64
import io
import json

import pytest
from PIL import Image

from tests.servers import web_server

BUDGET = 40
"""Units per minute of a member on the server with limits."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """Return a server whose members may do little, with the picture embedder."""
    limits = {"RATE_PER_MEMBER": str(BUDGET), "WRITE_RATE_PER_MEMBER": str(BUDGET), "GRAPHQL_INTROSPECTION": "1"}
    with web_server(tmp_path_factory.mktemp("limited"), IMAGE_EMBEDDER="conse", **limits) as server:
        server.add_members("author")
        server.add_posts("post", author_id="author")
        yield server


def graphql(server, query, credential, **variables):
    return server.send("POST", "/graphql", {"query": query, "variables": variables}, credential=credential)


def remaining(response):
    """Return the units that the response says are left."""
    return int(response.headers["RateLimit"].split(";r=")[1].split(";")[0])


# GraphQL documents


def doubled(levels, inner):
    """Return a document in which each of *levels* fragments spreads the next one twice."""
    fragments = [f"fragment f{n} on Query {{ {inner.format(n + 1)} }}" for n in range(levels)]
    return f"{{ ...f0 }} {' '.join(fragments)} fragment f{levels} on Query {{ __typename }}"


BOMBS = {
    "fragments": doubled(40, "...f{0} ...f{0}"),
    "fragments in inline fragments": doubled(40, "... on Query {{ ...f{0} }} ... {{ ...f{0} }}"),
    "fragments with directives": doubled(40, "...f{0} @skip(if: false) ...f{0} @include(if: true)"),
    "a long chain": " ".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(400)) + " { ...f0 }",
    "a cycle": "{ ...a } fragment a on Query { ...b ...b } fragment b on Query { ...a ...a }",
    "many operations": " ".join(f"query q{n} {{ ...f0 }}" for n in range(100)) + doubled(30, "...f{0} ...f{0}")[9:],
    "deep fields": "{ a" * 1_000 + "}" * 1_000,
    "deep lists": "{ a(x: " + "[" * 1_000 + "]" * 1_000 + ") }",
    "deep objects": "{ a(x: " + "{x: " * 900 + "1" + "}" * 900 + ") }",
    "deep types": "query($a: " + "[" * 900 + "ID" + "]" * 900 + ") { a }",
    "a long list": "{ a(x: [" + "1 " * 100_000 + "]) }",
    "a long number": "{ discoveryFeed(first: " + "9" * 15_000 + ") { engine } }",
    "a long exponent": '{ discoveryFeed(memberId: "bomber", filters: {maxAgeHours: 1e'
    + "9" * 5_000
    + "}) { engine } }",
    "a comment": "#" * 1_000_000,
    "repeated fields": "{" + " __typename" * 100_000 + "}",
    "deep introspection": "{ __schema { types { " + "fields { type { " * 20 + "name" + "} }" * 20 + " } } }",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_document_that_asks_for_more_work_than_its_length_allows_is_rejected(server, name):
    response = graphql(server, BOMBS[name], server.token("bomber"))
    assert response.status == (200 if name == "a long exponent" else 400), response.body
    assert response.json()["data"] is None and response.json()["errors"]
    assert len(response.body) < 20_000


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (
            "mutation($v: [EventInput!]!) { recordInteractions(events: $v) { status } }",
            {"v": [{"eventId": "e", "memberId": "bomber"}] * 20_000},
        ),
        ('mutation($v: [ID!]!) { markSeen(memberId: "bomber", postIds: $v) }', {"v": ["p"] * 1_001}),
        ('query($v: [Float!]) { crossModalSearch(viewerId: "bomber", vector: $v) { score } }', {"v": [0.5] * 4_097}),
        (
            'query($v: FeedFilterInput) { discoveryFeed(memberId: "bomber", filters: $v) { engine } }',
            {"v": {"tags": ["t"] * 1_001}},
        ),
        ("{ __typename }", {"unused": {"deeper": ["x"] * 20_000}}),
    ],
)
def test_a_long_list_in_a_variable_is_rejected(server, query, variables):
    response = graphql(server, query, server.token("bomber"), **variables)
    assert response.status == 400, response.body[:300]


# The rate limit counts work


def test_ten_aliased_feeds_count_as_ten_requests(limited):
    limited.add_members("ten")
    token = limited.token("ten")
    one = 'a{}: feed(name: "trending", memberId: "ten") {{ requestId }}'
    before = remaining(limited.send("GET", "/api/v1/members/ten/feed", credential=token))
    response = graphql(limited, f"{{ {' '.join(one.format(n) for n in range(10))} }}", token)
    assert response.status == 200 and "errors" not in response.json(), response.body
    assert remaining(response) == before - 10
    in_fragment = f"{{ ...f }} fragment f on Query {{ {' '.join(one.format(n) for n in range(10))} }}"
    assert remaining(graphql(limited, in_fragment, token)) == before - 20


def test_aliased_feeds_above_the_limit_are_not_executed(limited):
    limited.add_members("over")
    token = limited.token("over")
    one = 'a{}: feed(name: "trending", memberId: "over") {{ requestId }}'
    query = f"{{ {' '.join(one.format(n) for n in range(10))} }}"
    responses = [graphql(limited, query, token) for _ in range(5)]
    assert [response.status for response in responses] == [200, 200, 200, 200, 429]
    assert json.loads(responses[-1].body)["code"] == "throttled"
    assert 1 <= int(responses[-1].headers["Retry-After"]) <= 120


WRITES = [{"event_id": f"w{n}", "member_id": "writer", "post_id": "post", "kind": "view"} for n in range(100)]


def test_a_hundred_events_cost_a_member_the_same_over_rest_and_graphql_and_reads_stay_possible(limited):
    limited.add_members("writer")
    token = limited.token("writer")
    rest = limited.send("POST", "/api/v1/interactions", {"events": WRITES}, credential=token)
    names = {"event_id": "eventId", "member_id": "memberId", "post_id": "postId", "kind": "kind"}
    events = [{names[name]: value for name, value in row.items()} for row in WRITES]
    query = "mutation($e: [EventInput!]!) { recordInteractions(events: $e) { status } }"
    over_graphql = graphql(limited, query, token, e=events)
    assert rest.status == over_graphql.status == 200
    assert [remaining(rest), remaining(over_graphql)] == [BUDGET - 11, BUDGET - 22]
    assert (
        rest.headers["RateLimit-Policy"]
        == over_graphql.headers["RateLimit-Policy"]
        == f'"member-writes";q={BUDGET};w=60'
    )
    statuses = [
        limited.send("POST", "/api/v1/interactions", {"events": WRITES}, credential=token).status for _ in range(3)
    ]
    assert statuses == [200, 429, 429]
    feed = limited.send("GET", "/api/v1/members/writer/feed", credential=token)
    assert feed.status == 200 and feed.headers["RateLimit-Policy"].startswith('"member";')


def test_a_variable_counts_for_each_field_that_uses_it(limited):
    limited.add_members("variable")
    fields = " ".join(f'a{n}: markSeen(memberId: "variable", postIds: $p)' for n in range(3))
    token = limited.token("variable")
    response = graphql(limited, f"mutation($p: [ID!]!) {{ {fields} }}", token, p=["post"] * 50)
    assert response.status == 200 and remaining(response) == BUDGET - 3 * 6


# Long lists and large pictures


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/members/{}/seen", {"post_ids": ["p"] * 1_000_000}),
        ("POST", "/api/v1/interactions", {"events": ["e"] * 1_000_000}),
        ("PATCH", "/api/v1/members/{}/preferences", {"muted_words": ["w"] * 1_000_000}),
        ("PUT", "/api/v1/members/{}/profile", {"format": "recsys-profile", "version": 1, "seen": [1] * 1_000_000}),
        ("POST", "/api/v1/search", {"vector": [1] * 1_000_000}),
    ],
    ids=["seen", "interactions", "preferences", "profile", "search"],
)
def test_a_list_of_a_million_items_is_rejected_by_its_length(server, method, path, body):
    member_id = f"long-{next(iter(body))}-{len(path)}"  # each has its own limit of writes, which one such list exhausts
    server.add_members(member_id)
    token = server.token(member_id)
    body = body | {"viewer_id": member_id} if path.endswith("search") else body
    response = server.send(method, path.format(member_id), body, credential=token)
    assert response.status == 400 and response.json()["code"] == "invalid-request"
    assert len(response.body) < 2_000, "one error, not one for each item"


HEADERS = {
    "escaped quotes in a cookie": ("/account/login/", {"Cookie": 'a="' + '\\"' * 140_000 + '"'}, 200),
    "backslashes in a cookie": ("/explore/", {"Cookie": 'a="' + "\\" * 280_000 + '"'}, 302),
    "a path that is too long to be redirected": ("/admin/" + "a/" * 28_000, {}, 400),
    "a query that is too long to be redirected": ("/explore/?" + "a" * 56_000, {}, 400),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_and_paths_are_parsed_and_logged_in_linear_time(server, name):
    """Each took longer than `server.send` waits, or nearly: quoted cookies before Python 3.11.10, and logged paths."""
    path, headers, status = HEADERS[name]
    assert server.send("GET", path, headers=headers).status == status
    assert server.send("GET", "/livez").status == 200


@pytest.mark.parametrize("name", ["z", "a0"])
def test_a_body_with_very_many_names_is_refused(server, name):
    """A name that is given twice is found in linear time. It was quadratic: an hour for this body."""
    server.add_members("names")
    names = [*(f"a{number}" for number in range(300_000)), name, name]
    body = "{" + ",".join(f'"{field}":1' for field in names) + "}"
    headers = {"Content-Type": "application/json"}
    token = server.token("names")
    response = server.send("POST", "/api/v1/members/names/seen", body.encode(), credential=token, headers=headers)
    assert (response.status, response.json()["code"]) == (400, "parse-error")
    assert f"name '{name}' twice" in response.json()["detail"]


def picture(mode, size, file_format, **options):
    content = io.BytesIO()
    Image.new(mode, size).save(content, file_format, **options)
    return content.getvalue()


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (64, 64), "red")], "duration": 100}
LARGE_WEBP = base64.b64decode("UklGRhoAAABXRUJQVlA4TA4AAAAvkdPhBAcQEf0PRET/Aw==")
"""A black picture of 5,010 x 5,000 pixels in 34 bytes. Encoding it takes seconds."""
PICTURES = {
    "one large PNG": lambda: [picture("1", (7_071, 7_071), "PNG")],
    "one large JPEG": lambda: [picture("L", (5_010, 5_000), "JPEG")],
    "one large WebP": lambda: [LARGE_WEBP],
    "many pictures": lambda: [picture("1", (4_000, 4_000), "PNG")] * 4,
    "an animated PNG": lambda: [picture("RGB", (64, 64), "PNG", **FRAMES)],
    "an animated WebP": lambda: [picture("RGB", (64, 64), "WEBP", **FRAMES)],
    "other formats": lambda: [picture("RGB", (64, 64), name) for name in ("GIF", "BMP", "TIFF", "PPM", "ICO", "TGA")],
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_small_file_with_a_large_picture_is_rejected(limited, name):
    files = PICTURES[name]()
    assert sum(map(len, files)) < 1_000_000
    batches = [files] if name != "other formats" else [[file] for file in files]
    for batch in batches:
        pictures = [{"post_id": "post", "image": base64.b64encode(image).decode()} for image in batch]
        response = limited.send("PUT", "/api/v1/spaces/image/pictures", {"pictures": pictures}, credential=limited.key)
        content = response.json()
        if name == "many pictures":  # none of which is too large alone
            assert (response.status, content["code"]) == (400, "invalid-pictures"), response.body
        else:
            assert (response.status, content["stored"], len(content["rejected"])) == (207, 0, len(batch)), response.body


# Documents that do not change


def test_the_schema_is_generated_once_and_has_an_etag(server):
    """Everyone may request it. tests/integration/test_schema.py counts how often it is generated."""
    first = server.send("GET", "/api/schema/")
    again = server.send("GET", "/api/schema/", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status, again.status, again.body) == (200, 304, b"")
    compressed = server.send("GET", "/api/schema/", headers={"Accept-Encoding": "gzip"})
    assert compressed.headers["Content-Encoding"] == "gzip" and len(compressed.body) < len(first.body) / 5


def test_introspection_is_computed_once(limited):
    limited.add_members("reader")
    query = "{ __schema { types { name fields { name type { name kind } } } } }"
    responses = [graphql(limited, query, limited.token("reader")) for _ in range(2)]
    assert responses[0].status == 200 and responses[0].body == responses[1].body
