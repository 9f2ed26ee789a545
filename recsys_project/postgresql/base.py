"""
Django's backend, with two ways not to wait for the server.

The check of a connection at the start of a request asks the socket. And questions can be sent ahead, several at once:
the server answers them while we do something else, and nobody is put to sleep and woken, which takes longer than most
answers.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db import DatabaseError
from django.db.backends.postgresql import base
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

Value = int | str | list[int]
PreparedQuery = tuple[str, Sequence[Value]]
"""A query, with %s for each of its values."""
Rows = list[tuple[Any, ...]]

statement_names = (b"ahead_%d" % number for number in count())
prepared_statements: WeakKeyDictionary[psycopg.Connection, dict[str, bytes]] = WeakKeyDictionary()
"""By connection: the names of the statements that the server has prepared for it."""


def wait_for_events(descriptor: int, events: int, seconds: float | None = None) -> bool:
    """Return whether any of *events* has come, as soon as one has."""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


@lru_cache
def number_placeholders(sql: str) -> bytes:
    """Return a query with its values as PostgreSQL names them: $1, $2 ..."""
    first, *rest = sql.split("%s")
    return "".join([first, *(f"${i}{part}" for i, part in enumerate(rest, 1))]).replace("%%", "%").encode()


def encode_value(value: Value) -> bytes:
    """Return a value as PostgreSQL reads it; its type is what the query needs there."""
    if isinstance(value, list):
        return b"{%s}" % b",".join(b"%d" % one for one in value)
    if isinstance(value, int):
        return b"%d" % value
    if "\0" in value:
        raise psycopg.DataError("PostgreSQL has no text with a NUL in it")
    return value.encode()


class PendingQueries:
    """Questions that were sent, and whose answers nobody has fetched yet."""

    def __init__(self, connection: psycopg.Connection, queries: Sequence[PreparedQuery]) -> None:
        sent = [(sql, [encode_value(value) for value in values]) for sql, values in queries]
        self._connection, self._prepared = connection, prepared_statements.setdefault(connection, {})
        self._pgconn = connection.pgconn
        self._is_open = True
        self._pgconn.enter_pipeline_mode()
        for sql, values in sent:
            if sql not in self._prepared:
                self._prepared[sql] = next(statement_names)
                self._pgconn.send_prepare(self._prepared[sql], number_placeholders(sql))
            self._pgconn.send_query_prepared(self._prepared[sql], values)
        self._pgconn.pipeline_sync()
        self._pgconn.flush()

    def fetch(self) -> list[Rows] | None:
        """Return the rows of each answer, once; None if anything else was asked meanwhile, or one has no answer."""
        if not self._is_open:
            return None
        self._is_open = False
        try:
            answers = [answer for answer in self._results() if answer.status != ExecStatus.COMMAND_OK]
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error:
            self._connection.close()  # it is lost: whoever uses it next is told
            return None
        except BaseException:
            # Stopped half-way, as by a task's time limit: what is still to come would be taken for another's answer.
            self._connection.close()
            raise
        if any(answer.status != ExecStatus.TUPLES_OK for answer in answers):
            self._prepared.clear()  # whatever it was that failed; a name is never given again
            return None
        return [self._rows(answer) for answer in answers]

    def _results(self) -> Iterator[PGresult]:
        while True:
            while self._pgconn.is_busy():
                self._pgconn.consume_input()
                if self._pgconn.is_busy():
                    # To ask for the result would wait, too, and let no other thread run meanwhile.
                    unsent = self._pgconn.flush()
                    wait_for_events(self._pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
            answer = self._pgconn.get_result()
            if answer is not None and answer.status == ExecStatus.PIPELINE_SYNC:
                return
            if answer is not None:
                yield answer
            elif self._pgconn.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")

    def _rows(self, answer: PGresult) -> Rows:
        transformer = Transformer(self._connection)
        transformer.set_pgresult(answer)
        return transformer.load_rows(0, answer.ntuples, tuple)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    _pending: PendingQueries | None = None

    def is_usable(self) -> bool:
        """
        Return whether the server has not closed the connection; `SELECT 1` would take as long as a query of the feed.

        Between requests the server says nothing, unless it takes its leave: then there is something to read.
        """
        if self.connection is None or self.connection.closed:
            return False
        return not wait_for_events(self.connection.fileno(), select.POLLIN, 0)

    def send_queries(self, queries: Sequence[PreparedQuery]) -> PendingQueries | None:
        """
        Send questions, which are answered in their order, each as of then, and don't wait.

        The server keeps their plans. None: in a transaction, whose state it might change, and if it cannot be done.
        """
        if self.in_atomic_block:
            return None
        try:
            self.close_if_health_check_failed()
            self.ensure_connection()
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
        """Make the connection free for whoever asks next: what was asked ahead and not fetched is dropped."""
        if self._pending is not None:
            self._pending.fetch()
            self._pending = None
        super().ensure_connection()
