"""Raw SQL for the request path, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from django.db import connection

from monitoring import query_timing

SqlQuery = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""A query and its parameters."""
Rows = list[tuple[Any, ...]]


def in_clause(ids: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """
    Return the SQL condition "is one of *ids*", without the column, and its parameters.

    On PostgreSQL the text is the same for any number of ids, so that the statement can be prepared once.
    """
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


class PendingQueries:
    """
    Queries that have been sent, in order, and whose rows are read later.

    PostgreSQL executes them in one round trip while the caller does other work. They are executed again, one by one, if
    the connection ran another query before the rows were read, or if one of them failed. SQLite executes them when the
    rows are read.
    """

    def __init__(self, *queries: SqlQuery) -> None:
        self._queries = queries
        send_queries = getattr(connection, "send_queries", None)
        self._sent = send_queries(queries) if send_queries else None

    def rows(self) -> list[Rows]:
        """Return the rows of each query. Raises `DatabaseError`."""
        start = perf_counter()
        rows: list[Rows] | None = self._sent.fetch() if self._sent else None
        if rows is None:
            return [execute_query(*query) for query in self._queries]
        query_timing.observe_query("SELECT", perf_counter() - start)
        return rows


def execute_query(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """Execute one query through Django and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def fetch_all_rows(*queries: SqlQuery) -> list[Rows]:
    """Return the rows of each query. PostgreSQL executes all of them in one round trip."""
    return PendingQueries(*queries).rows()


def fetch_rows(sql: str, parameters: Sequence[Any]) -> Rows:
    """Return the rows of one query."""
    (rows,) = fetch_all_rows((sql, parameters))
    return rows
