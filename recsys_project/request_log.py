"""The log line of each request, and the request id that its log lines and tasks share."""

from __future__ import annotations

import re
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from structlog.contextvars import bind_contextvars

from access.callers import Caller
from recsys_project.logs import configure_structlog

configure_structlog()

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""Accepted `X-Request-ID` values. Any other value is replaced, since the id is written to every log line."""


class RequestLogMiddleware(RequestMiddleware):
    """django-structlog's middleware, logging the URL pattern: the URL itself contains member ids and search texts."""

    def prepare(self, request: HttpRequest) -> None:
        """Bind the request id: the `X-Request-ID` header if it is valid, else a new id."""
        header = request.headers.get("X-Request-ID", "")
        request_id = header if REQUEST_ID_PATTERN.fullmatch(header) else str(uuid4())
        request.META["request_id"] = request_id
        bind_contextvars(request_id=request_id)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Return the id to the caller, and log the member that the request is about and the caller."""
        response.headers["X-Request-ID"] = request.META["request_id"]
        match, caller = request.resolver_match, getattr(request, "auth", None)
        if match and (member_id := match.kwargs.get("member_id")) is not None:
            bind_contextvars(member_id=str(member_id))
        if isinstance(caller, Caller) and caller.member_id is None:
            bind_contextvars(caller=caller.id)
        super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the method and the URL pattern."""
        match = request.resolver_match
        return f"{request.method} {'/' + match.route if match else '(no matching URL)'}"
