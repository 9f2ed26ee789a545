"""Reads the bodies of requests on the event loop, with a deadline and a limit of their size."""

from __future__ import annotations

import asyncio
import contextlib

from django.conf import settings
from granian.rsgi import HTTPProtocol, ProtocolError, Scope  # type: ignore[attr-defined]  # its re-exports

from recommendations.api.problems import Problem, body_too_large_problem

SMALL_BODY_BYTES = 64 * 2**10
"""Bodies up to this declared size are read by one call."""
MAX_HELD_BYTES = 256 * 2**20
"""Bytes of bodies that a process holds at once. Above it, a request with a larger body gets a 503."""
DISCARD_SECONDS = 2.0
"""How long the rest of a refused body is read, because closing the connection at once could lose the response."""


class IncompleteBodyError(Exception):
    """The client closed the connection before it had sent the whole body."""


class BodyReader:
    """Reads bodies, and counts the bytes that are held for unanswered requests."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._held_bytes = 0

    async def read(self, scope: Scope, protocol: HTTPProtocol) -> bytes:
        """
        Return the body. The caller must `release` it.

        Raises `Problem` (408, 413, 503) and `IncompleteBodyError`.
        """
        declared = scope.headers.get("content-length")
        if "transfer-encoding" not in scope.headers and declared in (None, "0"):
            return b""
        size = None if declared is None else int(declared)  # Granian refuses any other value
        if size is not None and size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise body_too_large_problem()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                if size is not None and size <= SMALL_BODY_BYTES:
                    body = await protocol()
                    self._held_bytes += len(body)
                    return body
                return await self._read_chunks(protocol, size)
        except TimeoutError:
            detail = f"The body did not arrive within {self._deadline_seconds:g} s."
            raise Problem(detail, status=408, code="request-timeout") from None
        except ProtocolError:
            raise IncompleteBodyError from None

    def release(self, body: bytes) -> None:
        """Stop counting a body that `read` returned: its request is answered."""
        self._held_bytes -= len(body)

    async def _read_chunks(self, protocol: HTTPProtocol, size: int | None) -> bytes:
        """Return a body of which at most *size* bytes are expected, counting each chunk."""
        body = bytearray()
        try:
            async for chunk in protocol:
                body += chunk
                self._held_bytes += len(chunk)
                if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                    raise body_too_large_problem()
                if self._held_bytes > MAX_HELD_BYTES:
                    detail = "The server holds too many large requests. Try again."
                    raise Problem(detail, status=503, code="too-many-large-requests")
            # Granian ends the iteration without an error if the connection is closed.
            if size is not None and len(body) < size:
                raise IncompleteBodyError
        except BaseException:
            self._held_bytes -= len(body)
            raise
        return bytes(body)


async def discard(protocol: HTTPProtocol) -> None:
    """Read and drop the rest of the body, for a while."""
    with contextlib.suppress(ProtocolError):
        aiter(protocol)  # does nothing if `_read_chunks` has begun to read
    with contextlib.suppress(StopAsyncIteration, TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while await anext(protocol):  # type: ignore[call-overload]  # its stub has no __anext__
                pass
