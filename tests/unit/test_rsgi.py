"""The web server's entry point, on fakes. tests/attacks/test_unfinished_requests.py tests it on a real server."""

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from django.conf import settings
from granian.rsgi import ProtocolClosed, ProtocolError

from monitoring import time_budget
from recommendations.api.problems import Problem
from recsys_project import request_bodies
from recsys_project.request_bodies import BodyReader, IncompleteBodyError, discard
from recsys_project.rsgi import Application, build_environ


class Headers(list):
    """The headers of a request, in the form of Granian."""

    def get(self, name):
        return dict(self).get(name)

    def __contains__(self, name):
        return name in dict(self)

    def items(self):
        return list(self)


class Protocol:
    """A connection that sends *chunks* as the body, and records the response."""

    def __init__(self, *chunks, error=None):
        self.chunks, self.error, self.responses, self.sent = list(chunks), error, [], []
        self.has_begun = False

    async def __call__(self):
        if self.error:
            raise self.error
        return b"".join(self.chunks)

    def __aiter__(self):
        if self.has_begun:
            raise ProtocolError
        self.has_begun = True
        return self

    async def __anext__(self):
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)

    def response_empty(self, status, headers):
        self.responses.append((status, headers, b""))

    def response_bytes(self, status, headers, body):
        self.responses.append((status, headers, body))

    def response_stream(self, status, headers):
        self.responses.append((status, headers, self.sent))
        return self

    async def send_bytes(self, chunk):
        if self.error:
            raise self.error
        self.sent.append(chunk)


def build_scope(*headers, method="POST", path="/x", query=""):
    return SimpleNamespace(
        method=method,
        path=path,
        query_string=query,
        headers=Headers(headers),
        scheme="http",
        http_version="1.1",
        server="127.0.0.1:8000",
        client="[::1]:4000",
    )


class WsgiResponse:
    """A response of Django."""

    def __init__(self, chunks, *, streaming=False):
        self.chunks, self.streaming, self.is_closed = chunks, streaming, False

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        self.is_closed = True


def serve(protocol, response=None, *, headers=(), scope=None):
    """Send a request to an application that returns *response*."""

    def wsgi(environ, start_response):
        start_response("201 Created", list(headers))
        return response

    application = Application(wsgi, threads=1, body_seconds=60, request_seconds=60)
    asyncio.run(application.__rsgi__(scope or build_scope(), protocol))
    return protocol.responses


def read(protocol, *headers, reader=None):
    return asyncio.run((reader or BodyReader(60)).read(build_scope(*headers), protocol))


# Bodies

CHUNKED = ("transfer-encoding", "chunked")


def test_a_request_without_a_body_is_not_read():
    assert read(Protocol(b"x")) == read(Protocol(b"x"), ("content-length", "0")) == b""


@pytest.mark.parametrize("size", [3, request_bodies.SMALL_BODY_BYTES + 1])
def test_a_body_is_read_fully(size):
    assert read(Protocol(b"a" * (size - 1), b"b"), ("content-length", str(size))) == b"a" * (size - 1) + b"b"
    assert read(Protocol(b"a" * (size - 1), b"b"), CHUNKED) == b"a" * (size - 1) + b"b"


def test_a_body_that_was_cut_off_is_not_returned():
    size = request_bodies.SMALL_BODY_BYTES + 1
    for protocol, length in ((Protocol(b"a" * (size - 1)), size), (Protocol(error=ProtocolError()), 10)):
        with pytest.raises(IncompleteBodyError):
            read(protocol, ("content-length", str(length)))


def test_a_body_above_the_limit_is_refused():
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    for protocol, header in ((Protocol(), ("content-length", str(limit + 1))), (Protocol(b"a" * limit, b"b"), CHUNKED)):
        with pytest.raises(Problem) as error:
            read(protocol, header)
        assert error.value.status_code == 413


def test_large_bodies_are_refused_while_too_many_bytes_are_held(monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_HELD_BYTES", 10)
    reader = BodyReader(60)
    held = read(Protocol(b"1234567"), CHUNKED, reader=reader)
    for _ in range(2):  # a refused body is not held
        with pytest.raises(Problem) as error:
            read(Protocol(b"12", b"34"), CHUNKED, reader=reader)
        assert (error.value.status_code, error.value.wait) == (503, 5)
    reader.release(held)
    assert read(Protocol(b"12", b"34"), CHUNKED, reader=reader) == b"1234"


def test_the_rest_of_a_refused_body_is_read():
    """Whether or not reading had begun; until the end, or until the client has sent nothing more for a while."""
    protocol = Protocol(b"a", b"b")
    asyncio.run(discard(protocol))
    assert protocol.chunks == []
    protocol = Protocol(b"a", b"", b"b")
    aiter(protocol)
    asyncio.run(discard(protocol))
    assert protocol.chunks == [b"b"]


# Responses


def test_a_response_is_sent_at_once_and_closed():
    response = WsgiResponse([b"a", b"b"])
    assert serve(Protocol(), response, headers=[("X-A", "1")]) == [(201, [("X-A", "1")], b"ab")]
    assert response.is_closed


def test_a_stream_is_sent_by_chunks_until_the_client_is_gone():
    response = WsgiResponse([b"a", b"b"], streaming=True)
    assert serve(Protocol(), response) == [(201, [], [b"a", b"b"])]
    response = WsgiResponse([b"a", b"b"], streaming=True)
    assert serve(Protocol(error=ProtocolClosed()), response) == [(201, [], [])]
    assert response.is_closed


def test_a_file_is_sent_at_once_so_that_a_slow_reader_occupies_no_thread():
    response = WsgiResponse([b"a", b"b"], streaming=True)
    headers = [("Content-Length", "2")]
    assert serve(Protocol(), response, headers=headers) == [(201, headers, b"ab")]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
def test_a_failure_of_the_application_is_a_500_and_the_thread_goes_on(error):
    """Even what ends a thread elsewhere."""
    answers = iter([error, WsgiResponse([b"a"])])

    def wsgi(environ, start_response):
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        start_response("200 OK", [])
        return answer

    application, first, second = (
        Application(wsgi, threads=1, body_seconds=60, request_seconds=60),
        Protocol(),
        Protocol(),
    )
    for protocol in (first, second):
        asyncio.run(application.__rsgi__(build_scope(), protocol))
    assert (first.responses, second.responses) == ([(500, [], b"")], [(200, [], b"a")])


def test_a_request_that_gets_no_thread_in_time_is_refused_and_the_time_of_the_others_is_limited():
    """The only thread is busy for longer than the request may wait."""
    limits = []

    def wsgi(environ, start_response):
        limits.append(time_budget.statement_seconds())
        time.sleep(0.3)
        start_response("200 OK", [])
        return WsgiResponse([b"a"])

    application = Application(wsgi, threads=1, body_seconds=60, request_seconds=0.1)
    first, second = Protocol(), Protocol()

    async def serve_both():
        await asyncio.gather(*(application.__rsgi__(build_scope(), protocol) for protocol in (first, second)))

    asyncio.run(serve_both())
    assert first.responses == [(200, [], b"a")] and 0 < limits[0] <= 0.1
    ((status, headers, body),) = second.responses
    assert (status, json.loads(body)["code"], dict(headers)["retry-after"]) == (503, "overloaded", "5")
    assert len(limits) == 1 and time_budget.statement_seconds() is None


def test_a_refused_request_gets_a_problem_and_a_closed_connection():
    ((status, headers, body),) = serve(Protocol(), scope=build_scope(("content-length", "99999999")))
    assert (status, json.loads(body)["code"], dict(headers)["connection"]) == (413, "body-too-large", "close")


def test_a_cut_off_request_runs_no_application():
    protocol = Protocol(error=ProtocolError())
    assert serve(protocol, scope=build_scope(("content-length", "5")))[0][0] == 400


def test_a_service_that_holds_too_much_states_when_to_try_again(monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_HELD_BYTES", 1)
    ((status, headers, _),) = serve(Protocol(b"ab"), scope=build_scope(CHUNKED))
    assert (status, dict(headers)["retry-after"]) == (503, "5")


# Requests


def test_the_environ_describes_the_request():
    scope = build_scope(("content-type", "text/plain"), ("x-a", "1"), ("x-a", "2"), path="/ü", query="a=%20")
    environ = build_environ(scope, b"body")
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/ü"
    assert (environ["QUERY_STRING"], environ["CONTENT_TYPE"], environ["HTTP_X_A"]) == ("a=%20", "text/plain", "1,2")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("127.0.0.1", "8000", "::1")
    assert environ["wsgi.input"].read() == b"body"


def test_a_chunked_body_has_a_length_and_a_header_with_an_underscore_is_dropped():
    environ = build_environ(build_scope(CHUNKED, ("x_forwarded_for", "1.2.3.4")), b"body")
    assert environ["CONTENT_LENGTH"] == "4"
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_X_FORWARDED_FOR"} & set(environ)
