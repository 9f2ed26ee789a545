"""
The time that a request may take. The web server sets it; tasks and commands have none.

Within a request, the database is not waited for without a limit: a statement, or a lock, for `DATABASE_SECONDS` at
most, and nothing beyond the request's own end (`REQUEST_SECONDS` after it arrived). Redis, Qdrant and the kernels have
shorter limits of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

from django.conf import settings
from django.db.backends.signals import connection_created

LOCK_SHARE = 0.8
"""A lock is waited for this share of a statement's time, so that the error tells which of the two it was."""
MIN_SECONDS = 0.001

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)
"""The end of the request's time (`time.monotonic`)."""


@contextmanager
def limited_time(ends_at: float) -> Iterator[None]:
    """Limit the block's time. It ends at *ends_at* (`time.monotonic`)."""
    token = _ends_at.set(ends_at)
    try:
        yield
    finally:
        _ends_at.reset(token)


def is_limited() -> bool:
    """Return whether the time of the current call is limited."""
    return _ends_at.get() is not None


def statement_seconds() -> float | None:
    """Return how long the next statement may take, or None without a limit."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return None
    return max(MIN_SECONDS, min(float(settings.ENV.database_seconds), ends_at - monotonic()))


def statement_limits_ms() -> tuple[int, int]:
    """Return the limits of a statement and of a lock in milliseconds, for the connection of a request."""
    milliseconds = 1000 * settings.ENV.database_seconds
    return milliseconds, int(LOCK_SHARE * milliseconds)


def limit_lock_of_sqlite(connection: Any, **_: object) -> None:
    """Let a request's connection to SQLite wait for the lock no longer than a statement may take."""
    if connection.vendor == "sqlite" and is_limited():
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {statement_limits_ms()[1]}")


def connect_signals() -> None:
    """Limit the connections that requests open."""
    connection_created.connect(limit_lock_of_sqlite, dispatch_uid="time_budget")
