"""SQL as the hot path writes it, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from django.db import connection


def one_of(ids: Sequence[int]) -> tuple[str, Sequence[Any]]:
    """Return how SQL says that a number is one of *ids*, and its parameters; in PostgreSQL the same words for any."""
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


Asked = tuple[str, Sequence[Any]]
"""A query and its parameters."""
Rows = list[tuple[Any, ...]]


def query(sql: str, parameters: Sequence[Any]) -> Rows:
    """Return the rows of one query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def queries(*asked: Asked) -> list[Rows]:
    """Return the rows of each of several queries; PostgreSQL is asked all of them at once."""
    if connection.vendor != "postgresql":
        return [query(*one) for one in asked]
    connection.ensure_connection()
    with ExitStack() as stack:
        stack.enter_context(connection.wrap_database_errors)
        stack.enter_context(connection.connection.pipeline())
        cursors = [stack.enter_context(connection.cursor()) for _ in asked]
        for cursor, one in zip(cursors, asked, strict=True):
            cursor.execute(*one)
        return [list(cursor.fetchall()) for cursor in cursors]
