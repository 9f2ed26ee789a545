"""Times every query to the database, by its verb. Its text is never kept: it may hold what a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.db.backends.signals import connection_created

from monitoring import latency, metrics

VERB_TIMERS = {
    verb: metrics.QUERY_SECONDS.labels(verb.lower()) for verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "OTHER")
}


def time_query(execute: Callable[..., Any], sql: str, params: object, many: bool, context: dict[str, Any]) -> object:
    """Run a query and count the time it took, also if it failed."""
    start = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        observe_query(sql[:6].upper(), perf_counter() - start)


def observe_query(verb: str, seconds: float) -> None:
    """Count how long somebody waited for a query, or for some that were asked in one go."""
    VERB_TIMERS.get(verb, VERB_TIMERS["OTHER"]).observe(seconds)
    latency.observe_operation("database_query", seconds)


def time_connection_queries(connection: Any, **_: object) -> None:
    """Have the queries of this connection timed; it may have been made before."""
    if time_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(time_query)


def connect_signals() -> None:
    """Have the queries of every connection timed."""
    connection_created.connect(time_connection_queries, weak=False, dispatch_uid="queries")
