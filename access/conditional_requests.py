"""
Conditional requests: what a client has is not sent again, and nobody writes over what they have not read.

An ETag is a version in quotes. The `W/` that compression puts before it does not matter: versions are compared, not
bytes, so both comparisons of RFC 9110 take it as it is.
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
    description="The ETag of what you read: refused with 412 if it was changed since, and with 428 without this field. "
    "`*` changes whatever there is.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="ETags that you have: 304 if one of them holds still."
)
ETAG = re.compile(r'(?:W/)?"(\d{1,9})(?:\.\w+)?"')


class PreconditionRequired(APIException):
    """A change was asked for without saying of which version."""

    status_code = 428
    default_code = "precondition-required"
    default_detail = "Send the ETag of what you read in If-Match, so that nobody's change is lost; * changes what is."


def etag(version: int, suffix: str = "") -> str:
    """Return the ETag of *version*; *also* tells apart what is sent of one version."""
    return f'"{version}.{suffix}"' if suffix else f'"{version}"'


def client_has_current(request: Request, tag: str) -> bool:
    """Return whether the client has what *tag* is of: the answer is 304."""
    held = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in held or tag in {one.removeprefix("W/") for one in held}


def expected_version(request: Request) -> int | None:
    """Return the version that the client changes; None: whatever there is. Raise `PreconditionRequired` if unsaid."""
    said = request.headers.get("If-Match", "").strip()
    if not said:
        raise PreconditionRequired
    if said == "*":
        return None
    if not (found := ETAG.fullmatch(said)):
        raise ValidationError({"If-Match": 'Give one ETag as it was sent, such as "3", or *.'})
    return int(found[1])
