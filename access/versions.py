"""What a client is told of the API's version, and of the addresses that are going to end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

VERSION = "1.0.0"
"""The description's: its first number is that of the addresses, the second grows with what is added."""
CONVERTED = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Ending:
    """When an address was deprecated, when it will be gone, and what to ask instead."""

    since: datetime
    until: datetime
    instead: str
    """An address, as the description writes it."""


ENDING: Mapping[str, Ending] = {}
"""By method and address, such as `GET /api/v1/members/{member_id}/feed`. An address stays a year after it gets here."""


def headers(method: str, route: str) -> dict[str, str]:
    """Return the version and, of an address that ends, the fields of RFC 9745 (Deprecation) and RFC 8594 (Sunset)."""
    found = {"API-Version": VERSION}
    address = CONVERTED.sub(r"{\1}", route)
    if ending := ENDING.get(f"{method} /{address}"):
        found["Deprecation"] = f"@{int(ending.since.timestamp())}"
        found["Sunset"] = format_datetime(ending.until.astimezone(UTC), usegmt=True)
        found["Link"] = f'<{ending.instead}>; rel="successor-version"'
    return found
