"""SQL as the hot path writes it, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection


def one_of(ids: Sequence[int]) -> tuple[str, Sequence[Any]]:
    """Return how SQL says that a number is one of *ids*, and its parameters; in PostgreSQL the same words for any."""
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


def query(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
