"""
Transactions of services, which are run again if the database ends one because of a concurrent transaction.

The order of locks. A transaction that changes existing rows locks them before it reads them, and holds the locks until
it ends. So nothing that it read changes before it writes, and it overwrites no other writer's change. Every transaction
locks in this order, and rows of one table in the order of their primary keys:

1. the flags, as a whole (`flags.services.change.flag_transaction`)
2. members: the row of a member guards everything about the member, such as settings, relationships and interests
3. posts, and then their statistics
4. the kind of a job, if it has a limit, then jobs, and then their chunks
5. all other rows

On SQLite a transaction is the only writer from its start (`BEGIN IMMEDIATE`), which has the same effect.

Two transactions can still block each other, for example through foreign keys, and two can insert the same row at once.
The database then ends one of them. `write_transaction` runs the function again in a new transaction. The function must
therefore have no effect outside of the database except through `transaction.on_commit`.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connection, transaction

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

MAX_ATTEMPTS = 6
RETRY_SECONDS = 5.0
"""No attempt starts later than this after the first one. SQLite waits for the other writer within an attempt."""
FIRST_DELAY_SECONDS = 0.01
"""Longest wait before the second attempt. It doubles with each attempt, and its length is random."""
SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION = "40001", "40P01", "55P03", "23505"
"""Error codes of PostgreSQL."""
SQLITE_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
SQLITE_UNIQUE_CODES = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
PRIMARY_CODE_BITS = 0xFF
"""The bits of an error code of SQLite that hold the general code."""


def is_write_conflict(error: BaseException) -> bool:
    """Return whether the database ended a transaction because of a concurrent one, so that it can be tried again."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return (cause.sqlite_errorcode & PRIMARY_CODE_BITS) in SQLITE_BUSY_CODES
    return getattr(cause, "sqlstate", None) in (SERIALIZATION_FAILURE, DEADLOCK, LOCK_NOT_AVAILABLE)


def is_duplicate(error: BaseException) -> bool:
    """Return whether a row with the same unique value exists, which a concurrent transaction may have inserted."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode in SQLITE_UNIQUE_CODES
    return getattr(cause, "sqlstate", None) == UNIQUE_VIOLATION


def write_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """
    Run *function* in a transaction, and again after a write conflict or a duplicate.

    Inside another transaction *function* is a part of that one, and only the outermost is run again: the database has
    already ended the whole of it. The error of the last attempt is raised.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            with transaction.atomic():
                return function(*args, **kwargs)
        start = time.monotonic()
        attempt = 1
        while True:
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except DatabaseError as error:
                is_last = attempt == MAX_ATTEMPTS or time.monotonic() - start > RETRY_SECONDS
                if is_last or not (is_write_conflict(error) or is_duplicate(error)):
                    raise
                log.warning("transaction_retried", extra={"problem": type(error.__cause__).__name__})
            time.sleep(random.uniform(0, FIRST_DELAY_SECONDS * 2 ** (attempt - 1)))
            attempt += 1

    return run
