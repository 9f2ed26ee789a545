"""
Ids of members as they stand in logs: hashed, with a salt that is another one every day.

Lines of one member can be joined within a day, and not beyond it. Who holds SECRET_KEY can find a member's lines of a
day (`manage.py log_id`); a log alone tells nobody who a member is, nor that two days' lines are of one.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from functools import lru_cache


def hash_log_id(secret: str, value: object, day: str) -> str:
    """Return 16 hexadecimal digits for an id on a *day* (2026-11-24): HMAC-SHA256 under that day's salt."""
    return hmac.digest(daily_salt(secret, day), str(value).encode(), "sha256").hex()[:16]


@lru_cache(4)
def daily_salt(secret: str, day: str) -> bytes:
    """Return the salt of a day."""
    return hmac.digest(secret.encode(), f"log ids {day}".encode(), "sha256")


def utc_day(seconds: float) -> str:
    """Return the day in UTC of a moment in Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
