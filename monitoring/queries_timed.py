"""Times every query to the database, by its verb. Its text is never kept: it may hold what a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.db.backends.signals import connection_created

from monitoring import metrics, performance

VERBS = {verb: metrics.QUERY_SECONDS.labels(verb.lower()) for verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "OTHER")}


def timed(execute: Callable[..., Any], sql: str, params: object, many: bool, context: dict[str, Any]) -> object:
    """Run a query and count the time it took, also if it failed."""
    start = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        observe(sql[:6].upper(), perf_counter() - start)


def observe(verb: str, seconds: float) -> None:
    """Count how long somebody waited for a query, or for some that were asked in one go."""
    VERBS.get(verb, VERBS["OTHER"]).observe(seconds)
    performance.observe("database_query", seconds)


def watch(connection: Any, **_: object) -> None:
    """Have the queries of this connection timed; it may have been made before."""
    if timed not in connection.execute_wrappers:
        connection.execute_wrappers.append(timed)


def connect() -> None:
    """Have the queries of every connection timed."""
    connection_created.connect(watch, weak=False, dispatch_uid="queries")
