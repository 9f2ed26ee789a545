"""Attacks by a page that the user of an open API visits: `make run` needs no key, on the loopback interface."""

import json

import pytest
from drf_spectacular.generators import SchemaGenerator

from tests.servers import web_server

OPERATIONS = [
    (path, method.upper())
    for path, methods in SchemaGenerator().get_schema(request=None, public=True)["paths"].items()
    for method in methods
] + [("/graphql", "POST")]
UNSAFE = [(path, method) for path, method in OPERATIONS if method != "GET"]
SENDERS = {
    "another site": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "another site, in an older browser": {"Origin": "https://evil.example"},
    "another port": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    "a sandboxed frame": {"Origin": "null"},
    "an image or a script": {"Sec-Fetch-Site": "cross-site"},
}
SIMPLE_CONTENT_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
"""Content types that a page may send to another origin without asking that origin first."""


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with web_server(tmp_path_factory.mktemp("open"), API_OPEN="1", ADMIN_PASSWORD="a-password-of-tests") as server:
        server.add_members("ann", "bob")
        yield server


def fill(path):
    for name in ("member_id", "target_id", "post_id"):
        path = path.replace(f"{{{name}}}", "ann" if name == "member_id" else "bob")
    path = path.replace("{job_id}", "00000000-0000-0000-0000-000000000000").replace("{kind}", "mute")
    return path.replace("{pending_id}", "1").replace("{", "").replace("}", "")


@pytest.mark.parametrize("sender", SENDERS)
def test_a_page_of_another_origin_cannot_write(open_server, sender):
    """Whether or not the browser would let the page send this body."""
    assert len(UNSAFE) > 30
    answered = {}
    for path, method in UNSAFE:
        for body in (None, {}):
            response = open_server.send(method, fill(path), body, headers=SENDERS[sender])
            answered[method, path, str(body)] = (response.status, response.json().get("code"))
    assert {key: value for key, value in answered.items() if value != (403, "cross-site")} == {}


@pytest.mark.parametrize("content_type", SIMPLE_CONTENT_TYPES)
def test_a_page_cannot_write_by_a_request_that_needs_no_preflight(open_server, content_type):
    """A form, or `fetch` in the mode no-cors. Such a body is not JSON, whatever it contains."""
    headers = {"Content-Type": content_type}
    body = json.dumps({"events": [], "members": [{"id": "planted", "is_private": False}]}).encode()
    for path, method in UNSAFE:
        if method == "POST":
            for sender in SENDERS.values():
                assert open_server.send(method, fill(path), body, headers=headers | sender).status in (403, 415), path
            assert open_server.send(method, fill(path), body, headers=headers).status == 415, path
    assert open_server.send("GET", "/api/v1/members/planted").status == 404


@pytest.mark.parametrize("sender", SENDERS)
def test_a_page_of_another_origin_cannot_read_or_record_a_served_feed(open_server, sender):
    """An image with the address of a feed would record its posts as served."""
    response = open_server.send("GET", "/api/v1/members/ann/feed", headers=SENDERS[sender])
    assert (response.status, response.json()["code"]) == (403, "cross-site")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "0.0.0.0"])
def test_a_host_name_that_resolves_to_the_loopback_address_is_refused(open_server, host):
    """DNS rebinding: the browser takes the page and the service for one origin."""
    host = host.format(port=open_server.port)
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for path, method in [*OPERATIONS, ("/explore/", "GET"), ("/admin/", "GET")]:
        assert open_server.send(method, fill(path), headers=headers).status == 400, path


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}"])
def test_the_explorer_and_curl_go_on_to_work(open_server, host):
    host = host.format(port=open_server.port)
    page = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    older_browser = {"Host": host, "Origin": f"http://{host}"}
    address_bar, curl = {"Host": host, "Sec-Fetch-Site": "none"}, {"Host": host}
    for headers in (page, older_browser, address_bar, curl):
        assert open_server.send("GET", "/api/v1/members/ann/feed", headers=headers).status == 200
        assert open_server.send("POST", "/api/v1/members/ann/reset", headers=headers).status == 204
        assert open_server.send("POST", "/graphql", {"query": "{ __typename }"}, headers=headers).status == 200
    link = {"Host": host, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert open_server.send("GET", "/explore/", headers=link).status == 200


@pytest.mark.parametrize("destination", ["image", "script", "style", "iframe", "embed", "video"])
def test_a_stored_address_that_a_page_loads_uses_no_session(open_server, destination):
    """The author of a post chooses the address of its picture: a feed of this server would be recorded as served."""
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": destination}
    response = open_server.send("GET", "/api/v1/members/ann/feed", headers=headers)
    assert (response.status, response.json()["code"]) == (403, "embedded")
    for destination in ("empty", "document"):
        assert open_server.send("GET", "/api/v1/members/ann", headers={"Sec-Fetch-Dest": destination}).status == 200


def test_a_key_identifies_its_sender_on_an_open_api_too(open_server):
    headers = SENDERS["another site"]
    answer = open_server.send("GET", "/api/v1/members/ann/feed", credential=open_server.key, headers=headers)
    assert answer.status == 200


def test_the_session_of_staff_is_protected_by_the_csrf_token(open_server):
    """A cookie of 127.0.0.1 is sent to every port, so a page of another local server could act as staff."""
    open_server.manage("ensure_admin")
    login = open_server.send("GET", "/account/login/")
    cookie = login.headers["Set-Cookie"].partition(";")[0]
    form = f"login=admin&password={open_server.env['ADMIN_PASSWORD']}&csrfmiddlewaretoken={cookie.partition('=')[2]}"
    sent = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
    signed_in = open_server.send("POST", "/account/login/?next=/admin/", form.encode(), headers=sent)
    assert signed_in.status == 302
    cookies = "; ".join(value.partition(";")[0] for value in signed_in.headers.get_all("Set-Cookie"))
    for headers in ({}, SENDERS["another port"]):
        response = open_server.send("POST", "/api/v1/members/ann/reset", headers=headers | {"Cookie": cookies})
        assert response.status == 403
