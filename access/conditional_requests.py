"""
Conditional requests: a 304 if the client has the current version, and no overwriting of a concurrent change.

An ETag is a quoted version. Compression adds a `W/`, which makes no difference: versions are compared, not bytes, so
the weak and the strong comparison of RFC 9110 agree.
"""

from __future__ import annotations

import re

from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETag of the version that you read. Status 412 if it has changed since, and 428 without this header. "
    "`*` matches any version.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="ETags that you have. Status 304 if one of them is current.",
)
ETAG = re.compile(r'(?:W/)?"(\d{1,9})(?:\.\w+)?"')


class PreconditionRequired(APIException):
    """A change without If-Match."""

    status_code = 428
    default_code = "precondition-required"
    default_detail = (
        "Send If-Match with the ETag that you read, to avoid overwriting a concurrent change, or * for any."
    )


def etag(version: int, suffix: str = "") -> str:
    """Return the ETag of *version*; *suffix* distinguishes representations of the same version."""
    return f'"{version}.{suffix}"' if suffix else f'"{version}"'


def client_has_current(request: Request, tag: str) -> bool:
    """Return whether If-None-Match contains *tag*, so that the response is a 304."""
    client_tags = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in client_tags or tag in {client_tag.removeprefix("W/") for client_tag in client_tags}


def expected_version(request: Request) -> int | None:
    """Return the version in If-Match, or None for `*`. Raises `PreconditionRequired` and `ValidationError`."""
    if_match = request.headers.get("If-Match", "").strip()
    if not if_match:
        raise PreconditionRequired
    if if_match == "*":
        return None
    if not (match := ETAG.fullmatch(if_match)):
        raise ValidationError({"If-Match": 'Give one ETag as the server sent it, such as "3", or *.'})
    return int(match[1])
