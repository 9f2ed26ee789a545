"""
The change log: which posts and members have changed since a process read them.

Guarantee. Database triggers write a log entry in the transaction that changes a row, whether the ORM, raw SQL or
another program made the change. Entry and change become visible to other connections at the same instant. So if a
process reads a fact, later reads the log from the position that was current before it read the fact, and finds no
entry for it, the fact has not changed in any transaction committed before the log was read. This is what allows
`resident_facts.py` to use facts from memory. It holds only while every trigger exists and is enabled: a process must
not use facts from memory unless `are_triggers_installed` is true. Installing the triggers again writes an entry that
makes every process evict everything, because changes made while some were missing have no entry.

Positions. A reader must not pass the position of a transaction that commits later. SQLite has one writer at a time, so
entries commit in the order of their ids, and the id is the position. PostgreSQL commits in any order: a transaction
with a lower number may commit after one with a higher number was read. An entry's position is therefore the number of
its transaction, and a reader continues from `pg_snapshot_xmin`, the lowest number of a transaction that was still in
progress in the reader's snapshot. All entries from there on are read again, also those read before: an extra eviction
costs time, a missed one would show a hidden post. Continuing from the highest entry read would miss entries of
transactions that were open at that time. The position comes from the same statement as the entries, so that both
belong to one snapshot; under READ COMMITTED, two statements would have two.

Truncation. Old entries are deleted (`delete_changes_before`), and the row of `ChangeLogTruncation` holds the position
before which entries may be missing. A reader gets it with every read: if it lies beyond the reader's own position, the
reader may have missed entries and must evict everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from django.db import connection
from django.db.models import Model

from monitoring.transactions import write_transaction
from recommendations.models import (
    ChangeLogEntry,
    ChangeLogTruncation,
    InterestProfile,
    Member,
    NegativeFeedback,
    Post,
    PrivacySettings,
    ReactionHistory,
    Relationship,
    SeenPost,
)
from recommendations.models.change_log import ChangeKind

if TYPE_CHECKING:  # the triggers are installed by commands that load no metrics
    from recommendations.stores.sql import Rows, SqlQuery

MAX_CHANGES = 5_000
"""Entries read at once, for all viewers and for one viewer each. If there are more, everything is evicted. Changes the
speed."""

LoggedColumns = tuple[tuple[ChangeKind, str], ...]
"""The entries that a change of a row causes: the kind, and the column that holds the `row_id`."""

ACCOUNT_KINDS = (ChangeKind.AUTHOR, ChangeKind.VIEWER)
# In the order in which writers lock (`monitoring/transactions.py`), since installing the triggers locks the tables.
LOGGED_MODELS: dict[type[Model], LoggedColumns] = {
    Member: tuple((kind, "id") for kind in ACCOUNT_KINDS),
    Post: ((ChangeKind.POST, "id"),),
    PrivacySettings: tuple((kind, "member_id") for kind in ACCOUNT_KINDS),
    Relationship: ((ChangeKind.VIEWER, "source_id"), (ChangeKind.VIEWER, "target_id")),
    NegativeFeedback: ((ChangeKind.VIEWER, "member_id"),),
    InterestProfile: ((ChangeKind.VIEWER, "member_id"),),
    ReactionHistory: ((ChangeKind.VIEWER, "member_id"),),
    SeenPost: ((ChangeKind.SEEN, "member_id"),),
}
ROW_STATES = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""The row states of each event. Both states of an update count, since it may move a row from one member to another."""

LOG_TABLE, CUT_TABLE = (model._meta.db_table for model in (ChangeLogEntry, ChangeLogTruncation))
IS_SHARED_KIND = f"kind <= {ChangeKind.AUTHOR:d}"
SQLITE_POSITION = f"(SELECT ifnull(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = '{LOG_TABLE}')"
POSTGRES_TRANSACTION = "pg_current_xact_id()::text::bigint"
POSTGRES_POSITION = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
READ_FUNCTION = f"{LOG_TABLE}s_since"
"""The PostgreSQL function that reads the log. It caches its plan; planning takes as long as the rest of the query."""
READ_PARAMETERS = ("since", "viewer", "viewer_since", "most")


def build_read_sql(position_column: str, current_position: str, parameter_format: str) -> str:
    """
    Return the statement that reads the log. *parameter_format* is the format of a parameter's name.

    The first row is (-1, position of the truncation, current position); each further row is (kind, row_id, 0).
    """
    since, viewer, viewer_since, most = (parameter_format.format(name) for name in READ_PARAMETERS)
    row = "CAST(kind AS bigint), row_id, CAST(0 AS bigint)"
    return f"""
        SELECT CAST(-1 AS bigint), position, {current_position} FROM {CUT_TABLE}
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG_TABLE}
            WHERE {IS_SHARED_KIND} AND {position_column} >= {since} LIMIT {most}) AS for_all
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG_TABLE}
            WHERE NOT {IS_SHARED_KIND} AND row_id = {viewer}
            AND {position_column} >= {viewer_since} LIMIT {most}) AS own"""


SQLITE_READ = build_read_sql("id", SQLITE_POSITION, "%({})s")
POSTGRES_READ = f"SELECT * FROM {READ_FUNCTION}(%s, %s, %s, %s)"


class Changes(NamedTuple):
    """The result of a read of the log."""

    position: int
    """The position from which to read next time."""
    complete_from: int
    """The log is complete from this position on; earlier entries may have been deleted."""
    rows: list[tuple[int, int]]
    """The kind and `row_id` of each entry."""
    is_complete: bool
    """False if there were more than `MAX_CHANGES` entries, so that some were not read."""


def changes_query(since: int, viewer_id: int, viewer_since: int) -> SqlQuery:
    """Return the query for the shared entries from *since* on and this viewer's own entries from *viewer_since* on."""
    parameters = since, viewer_id, viewer_since, MAX_CHANGES
    return (
        (POSTGRES_READ, parameters)
        if connection.vendor == "postgresql"
        else (SQLITE_READ, dict(zip(READ_PARAMETERS, parameters, strict=True)))
    )


def decode_changes(rows: Rows) -> Changes:
    """Return the decoded rows of a `changes_query`."""
    (_, complete_from, position), *entries = rows
    return Changes(position, complete_from, [(kind, row_id) for kind, row_id, _ in entries], len(entries) < MAX_CHANGES)


def current_log_position() -> int:
    """Return the current position: every entry before it is committed and visible; later ones may not be."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {SQLITE_POSITION if connection.vendor == 'sqlite' else POSTGRES_POSITION}")
        return int(cursor.fetchone()[0])


def invalidate_all_processes() -> None:
    """Write the entry that makes every process evict everything before it serves its next request."""
    ChangeLogEntry.objects.create(kind=ChangeKind.EVERYTHING, row_id=0, position=transaction_number())


def transaction_number() -> int | None:
    """Return the number of the current transaction on PostgreSQL, None on SQLite."""
    if connection.vendor == "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {POSTGRES_TRANSACTION}")
        return int(cursor.fetchone()[0])


def delete_changes_before(position: int) -> int:
    """Delete the entries before *position* and return how many. Record the truncation first."""
    position_column = "id" if connection.vendor == "sqlite" else "position"
    with connection.cursor() as cursor:
        # In this order a reader in between evicts too much. In the other order it could miss deleted entries.
        cursor.execute(f"UPDATE {CUT_TABLE} SET position = %s WHERE position < %s", (position, position))
        cursor.execute(f"DELETE FROM {LOG_TABLE} WHERE {position_column} < %s", (position,))
        return int(cursor.rowcount)


# The triggers


@write_transaction
def install_triggers(**_: object) -> None:
    """
    Create the triggers, the indexes, the read function and the truncation row. Runs after every migration.

    A migration may drop triggers: on SQLite, changing a table creates it again without them. The service may run
    meanwhile. On PostgreSQL readers do not wait, and a deadlock with a writer is run again.
    """
    statements = sqlite_statements() if connection.vendor == "sqlite" else postgres_statements()
    # In one transaction: concurrent writers wait, so no change falls between the old triggers and the new ones.
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    ChangeLogTruncation.objects.get_or_create(pk=1)
    # Changes that were made while a trigger was missing have no entries.
    invalidate_all_processes()


def are_triggers_installed() -> bool:
    """Return whether every trigger exists and is enabled, and the read function and the truncation row exist."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute(
                """SELECT tgname FROM pg_trigger WHERE tgenabled = 'A'
                UNION SELECT proname FROM pg_proc WHERE proname = %s""",
                (READ_FUNCTION,),
            )
        installed = {name for (name,) in cursor.fetchall()}
        cursor.execute(f"SELECT count(*) FROM {CUT_TABLE}")
        return installed.issuperset(required_names()) and cursor.fetchone() == (1,)


def required_names() -> list[str]:
    """Return the names of all triggers and, on PostgreSQL, of the read function."""
    if connection.vendor == "sqlite":
        return [trigger_name(model, event) for model in LOGGED_MODELS for event in ROW_STATES]
    return [
        *(trigger_name(model, event) for model in LOGGED_MODELS for event in (*ROW_STATES, "TRUNCATE")),
        READ_FUNCTION,
    ]


def trigger_name(model: type[Model], event: str, prefix: str = "note") -> str:
    """Return the name of the trigger for an event on the model's table. *prefix* distinguishes its purpose."""
    return f"{prefix}_{model._meta.db_table}_{event.lower()}"


def logged_rows_sql(columns: LoggedColumns, states: Iterable[str], row: str) -> str:
    """Return a SELECT of the kind and `row_id` of every entry for the row states. UNION removes duplicates."""
    logged = [(state, kind, column) for state in states for kind, column in columns]
    return " UNION ".join(row.format(kind=int(kind), state=state, column=column) for state, kind, column in logged)


def sqlite_statements() -> Iterable[str]:
    """Yield the statements that install the log on SQLite, where a trigger runs once per row."""
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG_TABLE} (id) WHERE {IS_SHARED_KIND}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG_TABLE} (row_id, id) WHERE NOT {IS_SHARED_KIND}"
    for model, columns in LOGGED_MODELS.items():
        for event, states in ROW_STATES.items():
            name, rows = trigger_name(model, event), logged_rows_sql(columns, states, "SELECT {kind}, {state}.{column}")
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield f"""
                CREATE TRIGGER {name} AFTER {event} ON {model._meta.db_table}
                BEGIN INSERT INTO {LOG_TABLE} (kind, row_id) {rows}; END"""


def postgres_statements() -> Iterable[str]:
    """Yield the statements that install the log on PostgreSQL, where a trigger runs once per statement."""
    parameters = ", ".join(f"{name} bigint" for name in READ_PARAMETERS)
    query = build_read_sql("position", POSTGRES_POSITION, f"{READ_FUNCTION}.{{}}")
    yield f"""
        CREATE OR REPLACE FUNCTION {READ_FUNCTION}({parameters})
        RETURNS TABLE (of_kind bigint, of_subject bigint, position_now bigint)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS
        $body$ BEGIN RETURN QUERY {query}; END $body$"""
    insert_into = f"INSERT INTO {LOG_TABLE} (kind, row_id, position)"
    for model, columns in LOGGED_MODELS.items():
        for event, states in ROW_STATES.items():
            rows = logged_rows_sql(columns, states, "SELECT {kind} AS kind, {column} AS row_id FROM {state}_rows")
            insert = f"{insert_into} SELECT kind, row_id, {POSTGRES_TRANSACTION} FROM ({rows}) AS noted"
            tables = " ".join(f"{state} TABLE AS {state}_rows" for state in states)
            yield from postgres_trigger(model, event, insert, f"REFERENCING {tables}")
        insert_everything = f"{insert_into} VALUES ({ChangeKind.EVERYTHING:d}, 0, {POSTGRES_TRANSACTION})"
        yield from postgres_trigger(model, "TRUNCATE", insert_everything, "")
    # Last, as a writer locks the log after its table.
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG_TABLE} (position) WHERE {IS_SHARED_KIND}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG_TABLE} (row_id, position) WHERE NOT {IS_SHARED_KIND}"


def postgres_trigger(
    model: type[Model], event: str, action: str, referencing: str, *, prefix: str = "note"
) -> Iterable[str]:
    """Yield the statements that install one trigger and its function."""
    name, table = trigger_name(model, event, prefix), model._meta.db_table
    yield f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN {action}; RETURN NULL; END $body$"""
    # Replaced and not dropped: to drop a trigger would wait for every reader of the table, and block the next ones.
    yield f"""
        CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} {referencing}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}()"""
    # ALWAYS also fires in sessions that turn triggers off, as replication and pg_restore may.
    yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
