"""
Member ids in logs: hashed with a salt that changes every day.

The lines of one member can be joined within a day, not across days. With SECRET_KEY, an operator can find the lines of
a member on a day (`manage.py log_id`). A log alone reveals neither who a member is nor that lines of two days belong to
the same member.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from functools import lru_cache


def hash_log_id(secret: str, value: object, day: str) -> str:
    """Return the hash of an id on a *day* (2026-11-24): 16 hexadecimal digits of HMAC-SHA256 with that day's salt."""
    return hmac.digest(daily_salt(secret, day), str(value).encode(), "sha256").hex()[:16]


@lru_cache(4)
def daily_salt(secret: str, day: str) -> bytes:
    """Return the salt of a day."""
    return hmac.digest(secret.encode(), f"log ids {day}".encode(), "sha256")


def utc_day(seconds: float) -> str:
    """Return the UTC date of a time in Unix seconds, as YYYY-MM-DD."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
