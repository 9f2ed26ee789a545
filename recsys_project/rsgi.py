"""
The entry point of the web server: Granian imports `application` and calls it through its interface RSGI.

Granian calls the application on its event loop once the headers of a request have arrived. The body is read there,
with a deadline and a limit of its size, and only then a thread runs Django's WSGI application. So a client that sends
its body slowly, or never, occupies no thread. With Granian's WSGI interface, the thread itself waits for the body,
without a deadline, and as many unfinished requests as there are threads stop the service.

The event loop answers /livez itself, so that a check of the process needs no free thread. A request that has waited
for a free thread until its time is over gets a 503 (`monitoring/time_budget.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson
from django.conf import settings
from django.http import HttpResponseBase
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]  # its re-exports

from access.problems import CONTENT_TYPE, problem_body
from monitoring.time_budget import limited_time
from recommendations.api.problems import Problem
from recsys_project.request_bodies import BodyReader, IncompleteBodyError, discard
from recsys_project.wsgi import application as wsgi_application

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPStreamTransport as HTTPStreamTransport

log = logging.getLogger(__name__)

Headers = list[tuple[str, str]]
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], HttpResponseBase]
LIVE_HEADERS = [("content-type", "application/json"), ("cache-control", "no-store")]
LIVE_BODY = b'{"status":"pass"}'
OVERLOADED = Problem("No thread was free in time. Nothing was changed. Try again.", status=503, code="overloaded")


class Application:
    """Reads requests on the event loop, and answers them in threads with a WSGI application."""

    def __init__(self, wsgi: WsgiApplication, *, threads: int, body_seconds: float, request_seconds: float) -> None:
        self._wsgi, self._bodies, self._request_seconds = wsgi, BodyReader(body_seconds), request_seconds
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run_jobs, name=f"request-{number}", daemon=True).start()

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        if scope.path == "/livez" and scope.method in ("GET", "HEAD"):
            protocol.response_bytes(HTTPStatus.OK, LIVE_HEADERS, LIVE_BODY)
            return
        try:
            body = await self._bodies.read(scope, protocol)
        except IncompleteBodyError:
            protocol.response_empty(HTTPStatus.BAD_REQUEST, [])  # nobody receives it
        except Problem as problem:
            refuse(protocol, problem)
            await discard(protocol)
        else:
            try:
                await self._run_in_thread(scope, protocol, body)
            finally:
                self._bodies.release(body)

    async def _run_in_thread(self, scope: Scope, protocol: HTTPProtocol, body: bytes) -> None:
        """Answer the request in the next free thread, and return when that is done."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ends_at = monotonic() + self._request_seconds

        def answer() -> None:
            try:
                if monotonic() > ends_at:
                    refuse(protocol, OVERLOADED)
                else:
                    self._answer(loop, scope, protocol, body, ends_at)
            except BaseException:  # the thread must go on
                log.exception("request_failed")
                protocol.response_empty(HTTPStatus.INTERNAL_SERVER_ERROR, [])  # does nothing after a response
            finally:
                loop.call_soon_threadsafe(done.set_result, None)

        self._jobs.put(answer)
        await done

    def _run_jobs(self) -> None:
        """Run jobs, for ever."""
        while True:
            self._jobs.get()()

    def _answer(
        self, loop: asyncio.AbstractEventLoop, scope: Scope, protocol: HTTPProtocol, body: bytes, ends_at: float
    ) -> None:
        """Run the WSGI application until *ends_at*, and send its response from this thread, however long that takes."""
        status, headers = HTTPStatus.INTERNAL_SERVER_ERROR.value, Headers()

        def start_response(status_line: str, response_headers: Headers, exc_info: object = None) -> None:
            nonlocal status, headers
            status, headers = int(status_line[:3]), response_headers

        with limited_time(ends_at):
            response = self._wsgi(build_environ(scope, body), start_response)
        try:
            if response.streaming and not any(name.lower() == "content-length" for name, _ in headers):
                stream(loop, protocol.response_stream(status, headers), response)
            else:
                protocol.response_bytes(status, headers, b"".join(response))
        finally:
            response.close()


def stream(loop: asyncio.AbstractEventLoop, transport: HTTPStreamTransport, chunks: Iterable[bytes]) -> None:
    """Send each chunk as it is computed, until the client closes the connection."""
    with contextlib.suppress(ProtocolClosed):
        for chunk in chunks:
            asyncio.run_coroutine_threadsafe(send(transport, chunk), loop).result()


async def send(transport: HTTPStreamTransport, chunk: bytes) -> None:
    """Send a chunk. Raises `ProtocolClosed`."""
    await transport.send_bytes(chunk)


def refuse(protocol: HTTPProtocol, problem: Problem) -> None:
    """Send a problem, after which the server closes the connection."""
    body = problem_body(status=problem.status_code, code=str(problem.get_codes()), detail=str(problem.detail))
    headers = [("content-type", CONTENT_TYPE), ("connection", "close")]
    if wait := getattr(problem, "wait", None):
        headers.append(("retry-after", str(wait)))
    protocol.response_bytes(problem.status_code, headers, orjson.dumps(body))


def build_environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """
    Return the WSGI environ of a request (PEP 3333).

    Headers whose name contains an underscore are dropped: as variables, X_Forwarded_For and X-Forwarded-For are the
    same. Values of a repeated header are joined by a comma, so none of them is used instead of another.
    """
    host, _, port = scope.server.rpartition(":")
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": to_wsgi_string(scope.path),
        "QUERY_STRING": to_wsgi_string(scope.query_string),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if variable := header_variable(name):
            environ[variable] = f"{environ[variable]},{value}" if variable in environ else value
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))  # a chunked body has no such header
    return environ


def to_wsgi_string(text: str) -> str:
    """Return the UTF-8 bytes of *text* as the characters with the same numbers, which is how WSGI represents bytes."""
    return text if text.isascii() else text.encode().decode("latin-1")


@lru_cache(1024)
def header_variable(name: str) -> str:
    """Return the variable of a header, or an empty string if the header is dropped."""
    if "_" in name or name == "transfer-encoding":
        return ""
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"


application = Application(
    wsgi_application,
    threads=settings.ENV.web_threads,
    body_seconds=settings.ENV.request_body_seconds,
    request_seconds=settings.ENV.request_seconds,
)
