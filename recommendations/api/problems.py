"""
Errors of the API as problem details (RFC 9457): what went wrong, with which value, and what to do.

DRF imports this module through the settings while it loads its views, so this module must not import DRF's views.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.exceptions import APIException

if TYPE_CHECKING:
    from drf_standardized_errors.types import Error

RETRY_SECONDS = 5
"""Retry-After of a 503, and of a 429 that no rate limit caused."""


class Problem(APIException):
    """An error with a status, a code and, if one value caused it, a JSON pointer to the value."""

    def __init__(self, detail: str, *, status: int, code: str, pointer: str = "") -> None:
        super().__init__(detail, code)
        self.status_code, self.pointer = status, pointer
        if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            self.wait = RETRY_SECONDS


def body_too_large_problem() -> Problem:
    """Return the problem for a body above the size limit."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
    return Problem(f"The body is larger than {limit} MB. Send it in parts.", status=413, code="body-too-large")


def locate_value(name: str, *, in_body: bool) -> dict[str, str]:
    """Return the location of the value *name* (field names joined by /): a JSON pointer or a query parameter."""
    name = "" if name == "non_field_errors" else name.removesuffix("/non_field_errors").strip("/")
    if in_body:
        return {"pointer": f"/{name}" if name else ""}
    return {"parameter": name}


def build_error_items(errors: list[Error], *, in_body: bool) -> list[dict[str, str]]:
    """Return one object per invalid value."""
    return [{"detail": e.detail, "code": e.code} | locate_value(e.attr or "", in_body=in_body) for e in errors]
