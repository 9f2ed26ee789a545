"""The version of the API, and deprecated endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

API_VERSION = "1.0.0"
"""Version of the OpenAPI schema. The first number is the version in the URLs; additions increase the second."""
ROUTE_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Deprecation:
    """When an endpoint was deprecated, when it will be removed, and its successor."""

    deprecated_at: datetime
    sunset_at: datetime
    successor: str
    """A path, as the OpenAPI schema writes it."""


DEPRECATIONS: Mapping[str, Deprecation] = {}
"""By method and path, such as `GET /api/v1/members/{member_id}/feed`. Endpoints are removed a year later."""


def version_headers(method: str, route: str) -> dict[str, str]:
    """Return the API-Version header and, for a deprecated endpoint, Deprecation (RFC 9745) and Sunset (RFC 8594)."""
    headers = {"API-Version": API_VERSION}
    path = ROUTE_PARAMETER.sub(r"{\1}", route)
    if deprecation := DEPRECATIONS.get(f"{method} /{path}"):
        headers["Deprecation"] = f"@{int(deprecation.deprecated_at.timestamp())}"
        headers["Sunset"] = format_datetime(deprecation.sunset_at.astimezone(UTC), usegmt=True)
        headers["Link"] = f'<{deprecation.successor}>; rel="successor-version"'
    return headers
