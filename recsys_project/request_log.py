"""The line that each request leaves in the log, and the id that goes with it through every process."""

from __future__ import annotations

import re
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars

from access.callers import Caller

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""Ids of requests that are taken over from the edge; another one is replaced, since it goes into every line."""


class RequestLogMiddleware(RequestMiddleware):
    """django-structlog's, with the pattern of a request's address: the address itself names members and holds text."""

    def prepare(self, request: HttpRequest) -> None:
        """Bind the request's id: the edge's `X-Request-ID` if it is well formed, or else one of our own."""
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID_PATTERN.fullmatch(given) else str(uuid4())
        request.META["request_id"] = request_id
        bind_contextvars(request_id=request_id)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Tell the caller the id, and the log who it was about and who asked."""
        response.headers["X-Request-ID"] = request.META["request_id"]
        match, caller = request.resolver_match, getattr(request, "auth", None)
        if match and (member_id := match.kwargs.get("member_id")) is not None:
            bind_contextvars(member_id=str(member_id))
        if isinstance(caller, Caller) and caller.member_id is None:
            bind_contextvars(caller=caller.id)
        super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the method and the address's pattern."""
        match = request.resolver_match
        return f"{request.method} {'/' + match.route if match else 'no such address'}"
