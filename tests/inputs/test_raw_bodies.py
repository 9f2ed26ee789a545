"""Bodies as raw bytes, sent whole and in chunks to every operation that takes one: no answer is a server error."""

import http.client
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BODIES = [
    b"{",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'"\xff"',
    b"[NaN]",
    b"null",
    b"[]",
    b'"text"',
    b"9" * 5000,
    b'{"a": 1, "a": 2}',
    b'{"\\ud800": "\\ud800"}',
    b'{"\\u0000": "\\u0000"}',
    b'{"query": "\\ud800", "variables": {"a": "\\ud800"}}',
    b'{"members": ["\\ud800"], "posts": [null], "events": [[]]}',
]
PARAMETERS = ("member_id", "post_id", "target_id", "requester_id", "key", "kind", "space", "variant", "action", "step")


def send(server, method, path, body, *, is_chunked, content_type="application/json"):
    """Return the status of a request whose body is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        content = iter([body[:1], body[1:]] if len(body) > 1 else [body]) if is_chunked else body
        headers = {"Content-Type": content_type, "If-Match": "*", "Authorization": f"Bearer {server.key}"}
        connection.request(method, path, content, headers, encode_chunked=is_chunked)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def operations(server):
    """Return the method and address of every operation that takes a body."""
    schema = json.loads(server.send("GET", "/api/schema/", headers={"Accept": "application/json"}).body)
    found = [
        (method.upper(), fill(path))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]
    return [*found, ("POST", "/graphql")]


def fill(path):
    """Return the address with a value for each parameter."""
    for name in (
        "member_id",
        "post_id",
        "target_id",
        "requester_id",
        "key",
        "kind",
        "space",
        "variant",
        "action",
        "step",
    ):
        path = path.replace(f"{{{name}}}", "x")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}6f2d6f0e-3a57-4a4c-9a5e-0b6a3c1c2f11{rest.partition('}')[2]}"
    return path


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "in chunks"])
def test_no_body_is_a_server_error(server, operations, is_chunked):
    assert len(operations) > 20
    statuses = {
        (method, path, body[:40]): send(server, method, path, body, is_chunked=is_chunked)
        for method, path in operations
        for body in BODIES
    }
    assert {key: status for key, status in statuses.items() if status >= 500} == {}
    assert 400 in statuses.values()


@pytest.mark.parametrize("charset", ["utf-16", "punycode", "rot13", "x" * 300])
def test_another_charset_is_refused(server, charset):
    content_type = f"application/json; charset={charset}"
    path = "/api/v1/members"
    assert send(server, "POST", path, b"{}", is_chunked=False, content_type=content_type) == 415


@pytest.mark.parametrize("method", ["BREW", "GETT", "TRACE", "\u212a".encode().hex().upper()])
def test_an_invented_method_is_refused(server, method):
    assert send(server, method, "/api/v1/members", b"", is_chunked=False) == 501


@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_no_generated_body_is_a_server_error(server, operations):
    texts = st.text(st.characters(codec=None), max_size=20)
    values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
        max_leaves=20,
    )
    bodies = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode())

    @settings(max_examples=5_000)
    @given(st.sampled_from(operations), bodies, st.booleans())
    def check(operation, body, is_chunked):
        assert send(server, *operation, body, is_chunked=is_chunked) < 500

    check()
