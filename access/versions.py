"""What a client is told of the API's version, and of the addresses that are going to end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

API_VERSION = "1.0.0"
"""The description's: its first number is that of the addresses, the second grows with what is added."""
ROUTE_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Deprecation:
    """When an address was deprecated, when it will be gone, and what to ask instead."""

    deprecated_at: datetime
    sunset_at: datetime
    successor: str
    """An address, as the description writes it."""


DEPRECATIONS: Mapping[str, Deprecation] = {}
"""By method and address, such as `GET /api/v1/members/{member_id}/feed`. An address stays a year after it gets here."""


def version_headers(method: str, route: str) -> dict[str, str]:
    """Return the version and, of an address that ends, the fields of RFC 9745 (Deprecation) and RFC 8594 (Sunset)."""
    found = {"API-Version": API_VERSION}
    address = ROUTE_PARAMETER.sub(r"{\1}", route)
    if ending := DEPRECATIONS.get(f"{method} /{address}"):
        found["Deprecation"] = f"@{int(ending.deprecated_at.timestamp())}"
        found["Sunset"] = format_datetime(ending.sunset_at.astimezone(UTC), usegmt=True)
        found["Link"] = f'<{ending.successor}>; rel="successor-version"'
    return found
