"""SQL as the hot path writes it, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from django.db import connection

from monitoring import queries_timed

Question = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""A query and its parameters."""
Rows = list[tuple[Any, ...]]


def one_of(ids: Sequence[int]) -> tuple[str, Sequence[Any]]:
    """Return how SQL says that a number is one of *ids*, and its parameters; in PostgreSQL the same words for any."""
    if connection.vendor == "postgresql":
        return "= ANY(%s)", (list(ids),)
    return f"IN ({','.join(['%s'] * len(ids))})", ids


class Asked:
    """
    Queries that were asked, in their order. PostgreSQL answers them while we do something else, all in one go.

    If anybody asks anything else on the connection before the rows are taken, or one has no answer, they are asked
    anew. SQLite is asked when the rows are taken.
    """

    def __init__(self, *questions: Question) -> None:
        self._questions = questions
        ask_ahead = getattr(connection, "ask_ahead", None)
        self._ahead = ask_ahead(questions) if ask_ahead else None

    def rows(self) -> list[Rows]:
        """Return the rows of each query. Raises `DatabaseError`."""
        start = perf_counter()
        found: list[Rows] | None = self._ahead.fetch() if self._ahead else None
        if found is None:
            return [run(*question) for question in self._questions]
        queries_timed.observe("SELECT", perf_counter() - start)
        return found


def run(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Rows:
    """Return the rows of one query, as Django asks it."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def queries(*questions: Question) -> list[Rows]:
    """Return the rows of each of several queries; PostgreSQL is asked all of them at once."""
    return Asked(*questions).rows()


def query(sql: str, parameters: Sequence[Any]) -> Rows:
    """Return the rows of one query."""
    (rows,) = queries((sql, parameters))
    return rows
