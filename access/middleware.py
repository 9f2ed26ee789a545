"""Add version and rate limit headers to every API response, and record the usage of each caller."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from access import throttles, versions
from access.callers import Caller
from access.masks import mask_identity
from access.usage import usage_recorder
from monitoring.clock import now


class AccessMiddleware:
    """The middleware that the module docstring describes. Views set `auth` and `rate_limit` on the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        headers: dict[str, str] = {}
        if (match := request.resolver_match) and match.route.startswith("api/v"):
            headers |= versions.version_headers(request.method or "", match.route)
        if decision := getattr(request, "rate_limit", None):
            headers |= throttles.rate_limit_headers(decision)
        for name, value in headers.items():
            response.headers[name] = value
        if caller := watched_caller(request, response.status_code):
            usage_recorder().record_response(caller, response.status_code, now())
        return response


def watched_caller(request: HttpRequest, status: int) -> str | None:
    """Return the caller whose usage is recorded. Of anonymous requests, only rejected ones (401) are recorded."""
    caller = getattr(request, "auth", None)
    if isinstance(caller, Caller):
        if caller.member_id is not None:
            return f"member:{mask_identity('member', caller.member_id)}"
        return caller.id
    if status == 401:
        return f"address:{mask_identity('address', throttles.client_address(request))}"
    return None
