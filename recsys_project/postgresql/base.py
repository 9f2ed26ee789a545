"""
Django's PostgreSQL backend with changes that avoid waiting for the server.

A request does not wait for a server that hangs (`monitoring/time_budget.py`). The server ends a statement that takes
too long, or a lock that is not free in time. If the server itself does not respond, the client gives up a second later,
closes the connection, and counts the failure: after `MAX_FAILURES` of them, requests fail at once for a while.

The health check of a connection at the start of a request polls the socket instead of running `SELECT 1`.

`send_queries` sends several queries ahead of their use, in libpq's pipeline mode. Without it, each query blocks: the
thread is put to sleep and woken again, which takes longer than most of the feed's queries. With it, the server runs the
queries while Python does other work, and `PendingQueries.fetch` reads the results later, mostly without waiting.

A connection in pipeline mode cannot run any other query: libpq returns results in the order of the queries, so an
unread result would be taken for the result of the next query. Three rules prevent that, and must hold together:

* `DatabaseWrapper.ensure_connection`, which Django calls before every query, first fetches and drops pending results.
  The `PendingQueries` object then returns None, and its caller runs its queries again in the ordinary way.
* If reading is interrupted (a task's time limit, a lost connection), the connection is closed. It is never reused with
  results left to read.
* No query is sent ahead inside a transaction: an error would abort the transaction, and the caller would not notice
  until `fetch`.

Statements are prepared on the server, once per connection, under names that are never reused: after a failed query it
is unknown which of the statements exist, so all are prepared again under new names.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from django.db import DatabaseError
from django.db.backends.postgresql import base
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from monitoring.dependencies import Dependency, dependency
from monitoring.time_budget import is_limited, statement_limits_ms, statement_seconds

IDLE_IN_TRANSACTION_SECONDS = 120
"""The server ends a transaction that is idle for this long. Its process hangs, and it holds locks."""
GRACE_SECONDS = 1.0
"""How much longer than the server the client waits."""
WAIT_INTERVAL_SECONDS = 0.1
"""Interval at which psycopg looks for Ctrl-C while it waits. Its own default."""

R = TypeVar("R")
Value = int | str | list[int] | list[str]
PreparedQuery = tuple[str, Sequence[Value]]
"""An SQL query with %s for each value, and the values."""
Rows = list[tuple[Any, ...]]

statement_names = (b"pending_%d" % number for number in count())
prepared_statements: WeakKeyDictionary[psycopg.Connection, dict[str, bytes]] = WeakKeyDictionary()
"""For each connection: the names of its prepared statements by SQL text."""


def wait_for_events(descriptor: int, events: int, seconds: float | None = None) -> bool:
    """Wait until one of *events* occurs, at most *seconds* (None: no limit). Return whether one occurred."""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def database() -> Dependency:
    """Return the server as this process knows it."""
    return dependency("database")


def require_callable() -> None:
    """Raise `psycopg.OperationalError` in a request while the server's breaker is open."""
    if is_limited() and not database().allows_call():
        raise psycopg.OperationalError("The database failed a moment ago. Not called again yet.")


def count_timeout(seconds: float) -> psycopg.OperationalError:
    """Return the error of a server that did not respond within *seconds*, and count the failure."""
    error = psycopg.OperationalError(f"The database did not respond within {seconds:.0f} s.")
    if seconds == settings.ENV.database_seconds:  # what was left of a request's time proves nothing
        database().record_failure(error)
    return error


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which a request waits no longer than a statement may take."""

    def wait(self, gen: PQGen[R], interval: float = WAIT_INTERVAL_SECONDS, timeout: float | None = None) -> R:
        """Wait for the server. Raises `psycopg.OperationalError` and closes the connection after the limit."""
        seconds = statement_seconds()
        if seconds is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        require_callable()
        try:
            result = super().wait(gen, interval, seconds + GRACE_SECONDS)
        except psycopg.errors._WaitTimeout:
            self.close()  # its statement may still run, so the connection cannot be used again
            raise count_timeout(seconds) from None
        except psycopg.Error:
            database().record_response()
            raise
        database().record_response()
        return result


@lru_cache
def number_placeholders(sql: str) -> bytes:
    """Return a query with PostgreSQL's placeholders $1, $2 ... instead of %s."""
    first, *rest = sql.split("%s")
    return "".join([first, *(f"${i}{part}" for i, part in enumerate(rest, 1))]).replace("%%", "%").encode()


def encode_value(value: Value) -> bytes:
    """Return a value in PostgreSQL's text format. The server derives its type from the query."""
    if isinstance(value, list):
        return b"{%s}" % b",".join(map(encode_item, value))
    if isinstance(value, int):
        return b"%d" % value
    if "\0" in value:
        raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00) characters")
    return value.encode()


def encode_item(value: int | str) -> bytes:
    """Return an item of an array in PostgreSQL's text format, in which texts are quoted."""
    encoded = encode_value(value)
    return encoded if isinstance(value, int) else b'"%s"' % encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


class PendingQueries:
    """Queries that were sent and whose results have not been read."""

    def __init__(self, connection: psycopg.Connection, queries: Sequence[PreparedQuery]) -> None:
        encoded = [(sql, [encode_value(value) for value in values]) for sql, values in queries]
        self._connection, self._prepared = connection, prepared_statements.setdefault(connection, {})
        self._pgconn = connection.pgconn
        self._is_open = True
        self._pgconn.enter_pipeline_mode()
        for sql, values in encoded:
            if sql not in self._prepared:
                self._prepared[sql] = next(statement_names)
                self._pgconn.send_prepare(self._prepared[sql], number_placeholders(sql))
            self._pgconn.send_query_prepared(self._prepared[sql], values)
        self._pgconn.pipeline_sync()
        self._pgconn.flush()

    def fetch(self) -> list[Rows] | None:
        """
        Return the rows of each query, in order; callable once.

        None if the connection ran another query since, if it was lost, or if one of the queries failed.
        """
        if not self._is_open:
            return None
        self._is_open = False
        try:
            # COMMAND_OK is the result of a PREPARE.
            results = [result for result in self._results() if result.status != ExecStatus.COMMAND_OK]
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error:
            self._connection.close()  # the connection is lost; its next user gets an error
            return None
        except BaseException:
            # Interrupted, as by a task's time limit: the unread results would be taken for those of the next query.
            self._connection.close()
            raise
        if any(result.status != ExecStatus.TUPLES_OK for result in results):
            self._prepared.clear()  # it is unknown which statements were prepared; their names are never reused
            return None
        return [self._rows(result) for result in results]

    def _results(self) -> Iterator[PGresult]:
        """Yield every result up to the sync point."""
        while True:
            while self._pgconn.is_busy():
                self._pgconn.consume_input()
                if self._pgconn.is_busy():
                    # get_result() would wait as well, but without releasing the GIL.
                    unsent = self._pgconn.flush()
                    self._wait(select.POLLIN | (select.POLLOUT if unsent else 0))
            result = self._pgconn.get_result()
            if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                return
            if result is not None:
                yield result
            elif self._pgconn.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")

    def _wait(self, events: int) -> None:
        """Wait for the server. Raises `psycopg.OperationalError` after the limit of a statement."""
        seconds = statement_seconds()
        if seconds is None:
            wait_for_events(self._pgconn.socket, events)
        elif wait_for_events(self._pgconn.socket, events, seconds + GRACE_SECONDS):
            database().record_response()
        else:
            raise count_timeout(seconds)

    def _rows(self, result: PGresult) -> Rows:
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL that can send queries ahead."""

    _pending: PendingQueries | None = None
    Database = SimpleNamespace(**vars(psycopg) | {"connect": BoundedConnection.connect})  # type: ignore[assignment]
    """The driver, as Django's backend uses it: the module psycopg, with connections that have a limit."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return Django's parameters with the server's time limits. A pooler may refuse or ignore `options`."""
        params: dict[str, Any] = super().get_connection_params()
        limits = {"idle_in_transaction_session_timeout": 1000 * IDLE_IN_TRANSACTION_SECONDS}
        if is_limited():
            limits["statement_timeout"], limits["lock_timeout"] = statement_limits_ms()
        options = [params.get("options", ""), *(f"-c {name}={value}" for name, value in limits.items())]
        return params | {"options": " ".join(options).strip()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> BoundedConnection:
        """Connect. Raises `psycopg.OperationalError`, in a request at once while the server's breaker is open."""
        require_callable()
        try:
            connection: BoundedConnection = super().get_new_connection(conn_params)
        except psycopg.OperationalError as error:
            database().record_failure(error)
            raise
        database().record_response()
        return connection

    def is_usable(self) -> bool:
        """
        Return whether the connection is still open. `SELECT 1` would take as long as a query of a feed.

        Between requests the server sends nothing unless it closes the connection: data to read means that it did.
        """
        if self.connection is None or self.connection.closed:
            return False
        return not wait_for_events(self.connection.fileno(), select.POLLIN, 0)

    def send_queries(self, queries: Sequence[PreparedQuery]) -> PendingQueries | None:
        """
        Send queries without waiting for their results. The server runs them in order and keeps their plans.

        Each query sees the data that is committed when it starts. Returns None if nothing was sent: inside a
        transaction, for a value that cannot be encoded, or without a connection. The caller must then run the queries
        itself.
        """
        if self.in_atomic_block:
            return None
        try:
            self.close_if_health_check_failed()
            self.ensure_connection()
            require_callable()
            self._pending = PendingQueries(self.connection, queries)
        except psycopg.DataError:
            return None
        except (psycopg.Error, DatabaseError):
            self.close()
            return None
        except BaseException:
            self.close()
            raise
        if self.queries_logged:
            self.queries_log.extend({"sql": sql, "time": "0"} for sql, _ in queries)
        return self._pending

    def ensure_connection(self) -> None:
        """Prepare the connection for the next query: read and drop pending results."""
        if self._pending is not None:
            self._pending.fetch()
            self._pending = None
        super().ensure_connection()
