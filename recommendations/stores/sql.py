"""Raw SQL for the request path, on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any

import orjson
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField
from django.db.models.expressions import RawSQL

from monitoring import query_timing

SqlQuery = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""A query and its parameters."""
Rows = list[tuple[Any, ...]]
NAMED_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def in_clause(ids: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """
    Return the SQL condition "is one of *ids*", without the column, and its parameters.

    On PostgreSQL the text is the same for any number of ids, so that the statement can be prepared once.
    """
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


def to_array(values: Sequence[object]) -> object:
    """
    Return *values* as the parameter of an array on PostgreSQL.

    Numbers become the text of an array: the driver would handle each of them, in several times as long.
    """
    are_numbers = len(values) > 0 and isinstance(values[0], int | float) and None not in values
    return f"{{{','.join(map(str, values))}}}" if are_numbers else list(values)


def wanted_rows(columns: Mapping[str, Sequence[int] | Sequence[str]]) -> tuple[str, Sequence[Any]]:
    """
    Return a table `wanted` with these *columns* (n,), for the FROM clause of a query, and its parameters.

    A join with it reads the rows of many keys by one statement. There is at least one key.
    """
    if connection.vendor == "postgresql":
        types = ("text" if isinstance(values[0], str) else "bigint" for values in columns.values())
        arrays = ", ".join(f"%s::{type}[]" for type in types)
        return f"unnest({arrays}) AS wanted ({', '.join(columns)})", [to_array(values) for values in columns.values()]
    fields = ", ".join(f"json_extract(value, '$[{number}]') AS {name}" for number, name in enumerate(columns))
    rows = orjson.dumps(list(zip(*columns.values(), strict=True))).decode()
    return f"(SELECT {fields} FROM json_each(%s)) AS wanted", [rows]


def one_of(ids: Sequence[int]) -> RawSQL:
    """
    Return *ids* as the right side of a lookup `__in`, in one parameter.

    For a list, Django handles each id several times, which takes longer than the query for thousands of them.
    """
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [to_array(ids)], BigIntegerField())
    return RawSQL("SELECT value FROM json_each(%s)", [orjson.dumps(ids).decode()], BigIntegerField())


class PendingQueries:
    """
    Queries that have been sent, in order, and whose rows are read later.

    PostgreSQL executes them in one round trip while the caller does other work. They are executed again, one by one, if
    the connection ran another query before the rows were read, or if one of them failed. SQLite executes them when the
    rows are read, without Django's cursors if nothing watches the queries.
    """

    def __init__(self, *queries: SqlQuery) -> None:
        self._queries = queries
        send_queries = getattr(connection, "send_queries", None)
        self._sent = send_queries(queries) if send_queries else None

    def rows(self) -> list[Rows]:
        """Return the rows of each query. Raises `DatabaseError`."""
        start = perf_counter()
        rows: list[Rows] | None = self._sent.fetch() if self._sent else None
        # The connection itself: each attribute of its proxy takes as long as a small part of a query.
        own_connection = connections[DEFAULT_DB_ALIAS]
        if rows is None and may_bypass_django(own_connection):
            rows = [execute_on_sqlite(own_connection, *query) for query in self._queries]
        if rows is None:
            return [execute_query(*query) for query in self._queries]
        query_timing.observe_query("SELECT", perf_counter() - start)
        return rows


def execute_query(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """Execute one query through Django and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def may_bypass_django(connection: BaseDatabaseWrapper) -> bool:
    """
    Return whether a query can be executed on SQLite's own connection: nothing but `query_timing` watches the queries.

    A feed's query takes SQLite some microseconds. Django's cursors take several times as long.
    """
    if connection.vendor != "sqlite":
        return False
    connection.ensure_connection()
    is_watched = any(wrapper is not query_timing.time_query for wrapper in connection.execute_wrappers)
    return not connection.queries_logged and not is_watched


def execute_on_sqlite(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """Execute one query on SQLite's own connection and return its rows. Raises Django's `DatabaseError`."""
    connection.validate_no_broken_transaction()
    statement = to_sqlite(sql, isinstance(parameters, Mapping))
    with connection.wrap_database_errors:
        rows: Rows = connection.connection.execute(statement, parameters).fetchall()
        return rows


@lru_cache(128)
def to_sqlite(sql: str, is_named: bool) -> str:
    """Return a query with SQLite's placeholders: ? for %s, or :name for %(name)s."""
    marked = NAMED_PLACEHOLDER.sub(r":\1", sql) if is_named else sql.replace("%s", "?")
    return marked.replace("%%", "%")


def fetch_all_rows(*queries: SqlQuery) -> list[Rows]:
    """Return the rows of each query. PostgreSQL executes all of them in one round trip."""
    return PendingQueries(*queries).rows()


def fetch_rows(sql: str, parameters: Sequence[Any]) -> Rows:
    """Return the rows of one query."""
    (rows,) = fetch_all_rows((sql, parameters))
    return rows
