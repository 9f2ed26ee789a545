"""Attacks that occupy the web server with requests that do not end. Each is ended at the deadline."""

import contextlib
import select
import socket
import threading

import pytest

from tests.servers import web_server

COUNT = 16
"""Unfinished requests of each kind at once. The server has four threads."""
DEADLINE_SECONDS = 5
"""Long enough for what the tests do while the requests are unfinished."""
LARGE = 5 * 2**20 + 1
"""Bytes above the limit of a body."""


@pytest.fixture(scope="module")
def hurried_server(tmp_path_factory):
    """Return a server with short deadlines."""
    deadlines = ("--http1-header-read-timeout", str(DEADLINE_SECONDS * 1000))
    folder = tmp_path_factory.mktemp("unfinished")
    with web_server(folder, *deadlines, REQUEST_BODY_SECONDS=str(DEADLINE_SECONDS)) as server:
        server.add_members("reader")
        yield server


def headers(server, *lines):
    """Return the headers of a POST, as a client sends them."""
    first = [f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.key}", "Content-Type: application/json"]
    return "\r\n".join(["POST /api/v1/members HTTP/1.1", *first, *lines, "", ""]).encode()


UNFINISHED = {
    "nothing": lambda server: b"",
    "half of the headers": lambda server: headers(server)[:-20],
    "no body": lambda server: headers(server, "Content-Length: 1000"),
    "half of a body": lambda server: headers(server, "Content-Length: 1000") + b'{"members": [',
    "half of a large body": lambda server: headers(server, "Content-Length: 1000000") + b" " * 1000,
    "half of a chunk": lambda server: headers(server, "Transfer-Encoding: chunked") + b"ff\r\n{",
    "chunks without an end": lambda server: headers(server, "Transfer-Encoding: chunked") + b"1\r\n{\r\n",
    "a form for the admin": lambda server: (
        headers(server, "Content-Length: 1000")
        .replace(b"/api/v1/members", b"/admin/login/")
        .replace(b"application/json", b"application/x-www-form-urlencoded")
    ),
}

WITHOUT_HEADERS = {"nothing", "half of the headers"}


@contextlib.contextmanager
def connections(server, count):
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60)) for _ in range(count)
        ]


def receive(connection):
    """Return what the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def test_unfinished_requests_delay_nobody_and_end_at_the_deadline(hurried_server):
    """64 and more that wait for their headers or body, of every kind."""
    with connections(hurried_server, COUNT * len(UNFINISHED)) as opened:
        kinds = {kind: opened[start :: len(UNFINISHED)] for start, kind in enumerate(UNFINISHED)}
        for kind, group in kinds.items():
            for connection in group:
                connection.sendall(UNFINISHED[kind](hurried_server))
        for path in ("/livez", "/api/v1/members/reader/feed"):
            assert hurried_server.send("GET", path, credential=hurried_server.key).status == 200
        assert not select.select(opened, [], [], 0)[0], "the requests are still unfinished"
        answers = {kind: {receive(connection)[:13] for connection in group} for kind, group in kinds.items()}
    timed_out, closed = {b"HTTP/1.1 408 "}, {b""}
    assert answers == {kind: closed if kind in WITHOUT_HEADERS else timed_out for kind in UNFINISHED}


def test_a_body_that_arrives_byte_by_byte_ends_at_the_deadline(hurried_server):
    """The deadline is for the whole body: sending a byte now and then does not extend it."""
    with connections(hurried_server, 1) as (connection,):
        connection.sendall(headers(hurried_server, "Content-Length: 1000"))
        is_answered = threading.Event()

        def send_bytes():
            with contextlib.suppress(OSError):
                while not is_answered.wait(0.2):
                    connection.sendall(b" ")

        sender = threading.Thread(target=send_bytes)
        sender.start()
        answer = receive(connection)
        is_answered.set()
        sender.join()
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed(hurried_server):
    with connections(hurried_server, 1) as (connection,):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert receive(connection).endswith(b'{"status":"pass"}')


def test_a_client_that_closes_the_connection_in_the_middle_of_a_body_writes_nothing(hurried_server):
    """Also if the part that arrived would be a valid body."""
    body = b'{"members": [{"id": "cut-off", "is_private": false}]}'
    for size in (len(body) + 1, 100_000):
        with connections(hurried_server, 1) as (connection,):
            connection.sendall(headers(hurried_server, f"Content-Length: {size}") + body)
    assert hurried_server.send("GET", "/api/v1/members/cut-off", credential=hurried_server.key).status == 404


# Bodies without a declared length


def chunked(content, size):
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_body_is_read_fully(hurried_server, size):
    body = b'{"members": [{"id": "chunked-%d", "is_private": false}]}' % size
    with connections(hurried_server, 1) as (connection,):
        connection.sendall(headers(hurried_server, "Transfer-Encoding: chunked", "Connection: close"))
        connection.sendall(chunked(body, size))
        assert b'"created":1' in receive(connection)


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", f"Content-Length: {LARGE}"])
def test_a_body_above_the_limit_is_refused(hurried_server, framing):
    content = chunked(b" " * LARGE, 65_536) if "chunked" in framing else b" " * LARGE
    with connections(hurried_server, 1) as (connection,):
        connection.sendall(headers(hurried_server, framing) + content)
        answer = receive(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code":"body-too-large"' in answer


def test_an_endless_body_is_refused_at_the_limit(hurried_server):
    with connections(hurried_server, 1) as (connection,):
        connection.sendall(headers(hurried_server, "Transfer-Encoding: chunked"))
        with contextlib.suppress(OSError):  # the server closes the connection
            for _ in range(10_000):
                connection.sendall(chunked(b" " * 65_536, 65_536)[:-5])
        assert hurried_server.send("GET", "/livez").status == 200


def test_a_client_that_does_not_read_its_responses_delays_nobody(hurried_server):
    """Large responses are held by the server, not by a thread."""
    request = f"GET /api/schema/ HTTP/1.1\r\nHost: 127.0.0.1:{hurried_server.port}\r\n\r\n".encode()
    with connections(hurried_server, 8) as opened:
        for connection in opened:
            connection.sendall(request)
        assert hurried_server.send("GET", "/livez").status == 200
        feed = hurried_server.send("GET", "/api/v1/members/reader/feed", credential=hurried_server.key)
        assert feed.status == 200
