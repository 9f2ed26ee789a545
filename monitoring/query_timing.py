"""Timing of every database query, by SQL verb. The query text is not recorded: it may contain personal data."""

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
    """Run a query and record its time, also if it fails (a Django `execute_wrapper`)."""
    start = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        observe_query(sql[:6].upper(), perf_counter() - start)


def observe_query(verb: str, seconds: float) -> None:
    """Record the time of one query, or of several queries that were sent together."""
    VERB_TIMERS.get(verb, VERB_TIMERS["OTHER"]).observe(seconds)
    latency.observe_operation("database_query", seconds)


def time_connection_queries(connection: Any, **_: object) -> None:
    """Time the queries of this connection. A reopened connection already has the wrapper."""
    if time_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(time_query)


def connect_signals() -> None:
    """Time the queries of every new connection."""
    connection_created.connect(time_connection_queries, weak=False, dispatch_uid="queries")
