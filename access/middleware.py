"""Refuse undecodable requests, add version and rate limit headers to responses, and record the usage of each caller."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from access import throttles, versions
from access.callers import Caller
from access.masks import mask_identity
from access.problems import CONTENT_TYPE, problem_body
from access.usage import usage_recorder
from monitoring.clock import now

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The HTTP methods that some view answers. They are labels of metrics, so an invented one would create a series."""


class EncodingMiddleware:
    """
    Refuse (501) a request with a method that no view knows.

    Refuse (415) a request that names another charset than UTF-8, or a content coding, before anything is read.

    Django decodes a query string and a form by the charset that the client names. Then two readers can disagree about
    the same bytes, and some of Python's codecs take quadratic time (punycode), fail or are no character encoding.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in METHODS:
            detail = f"Send one of the methods {', '.join(METHODS)}."
            problem = problem_body(status=501, code="unknown-method", detail=detail)
            return JsonResponse(problem, status=501, content_type=CONTENT_TYPE)
        charset = (request.content_params or {}).get("charset", "utf-8")
        coding = request.headers.get("Content-Encoding", "identity")
        if charset.lower() in ("utf-8", "utf8") and coding.lower() == "identity":
            return self.get_response(request)
        detail = "Send the body in UTF-8, without compression."
        problem = problem_body(status=415, code="unsupported-encoding", detail=detail)
        return JsonResponse(problem, status=415, content_type=CONTENT_TYPE)


class AccessMiddleware:
    """Add headers and record the usage. Views set `auth` and `rate_limit` on the request."""

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
