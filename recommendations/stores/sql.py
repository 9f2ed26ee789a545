"""SQL as the hot path writes it, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from django.db import connection

from monitoring import query_timing

SqlQuery = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""A query and its parameters."""
Rows = list[tuple[Any, ...]]


def in_clause(ids: Sequence[int]) -> tuple[str, Sequence[Any]]:
    """Return how SQL says that a number is one of *ids*, and its parameters; in PostgreSQL the same words for any."""
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


class PendingQueries:
    """
    Queries that were asked, in their order. PostgreSQL answers them while we do something else, all in one go.

    If anybody asks anything else on the connection before the rows are taken, or one has no answer, they are asked
    anew. SQLite is asked when the rows are taken.
    """

    def __init__(self, *queries: SqlQuery) -> None:
        self._queries = queries
        send_queries = getattr(connection, "send_queries", None)
        self._ahead = send_queries(queries) if send_queries else None

    def rows(self) -> list[Rows]:
        """Return the rows of each query. Raises `DatabaseError`."""
        start = perf_counter()
        found: list[Rows] | None = self._ahead.fetch() if self._ahead else None
        if found is None:
            return [execute_query(*query) for query in self._queries]
        query_timing.observe_query("SELECT", perf_counter() - start)
        return found


def execute_query(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """Return the rows of one query, as Django asks it."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def fetch_all_rows(*queries: SqlQuery) -> list[Rows]:
    """Return the rows of each of several queries; PostgreSQL is asked all of them at once."""
    return PendingQueries(*queries).rows()


def fetch_rows(sql: str, parameters: Sequence[Any]) -> Rows:
    """Return the rows of one query."""
    (rows,) = fetch_all_rows((sql, parameters))
    return rows
