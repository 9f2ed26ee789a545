"""
Which facts changed since a process read them, by the change log that triggers write in the database itself.

A trigger's row is committed with the change, whoever wrote it and by whatever means: what the log does not tell has not
changed. So a process may remember what it read, as long as it asks the log before it uses it. Without its triggers the
log tells nothing: then nothing may be remembered (`is_kept`).

Positions. SQLite has one writer at a time, so that the rows' own numbers come in the order of their commits. In
PostgreSQL they do not: a row is placed by the number of its transaction, and everything from the oldest transaction
that was under way is read again (its `pg_snapshot_xmin`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Model

from recommendations.models import (
    ChangeLogEntry,
    ChangeLogTruncation,
    InterestProfile,
    Member,
    NegativeFeedback,
    Post,
    PrivacySettings,
    Relationship,
    SeenPost,
)
from recommendations.models.change_log import ChangeKind
from recommendations.stores.sql import Rows, SqlQuery

MAX_CHANGES = 5_000
"""Changes of one kind that are read at once; over it everything is forgotten. Changes the speed."""

LoggedColumns = tuple[tuple[ChangeKind, str], ...]
"""What a row of a table is noted as: kind, and the column that names the row_id."""

ACCOUNT_KINDS = (ChangeKind.AUTHOR, ChangeKind.VIEWER)
LOGGED_MODELS: dict[type[Model], LoggedColumns] = {
    Post: ((ChangeKind.POST, "id"),),
    Member: tuple((kind, "id") for kind in ACCOUNT_KINDS),
    PrivacySettings: tuple((kind, "member_id") for kind in ACCOUNT_KINDS),
    Relationship: ((ChangeKind.VIEWER, "source_id"), (ChangeKind.VIEWER, "target_id")),
    NegativeFeedback: ((ChangeKind.VIEWER, "member_id"),),
    InterestProfile: ((ChangeKind.VIEWER, "member_id"),),
    SeenPost: ((ChangeKind.SEEN, "member_id"),),
}
ROW_STATES = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""The states of a row that an event has: a row may be moved from one row_id to another."""

LOG_TABLE, CUT_TABLE = (model._meta.db_table for model in (ChangeLogEntry, ChangeLogTruncation))
IS_SHARED_KIND = f"kind <= {ChangeKind.AUTHOR:d}"
SQLITE_POSITION = f"(SELECT ifnull(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = '{LOG_TABLE}')"
POSTGRES_TRANSACTION = "pg_current_xact_id()::text::bigint"
POSTGRES_POSITION = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
READ_FUNCTION = f"{LOG_TABLE}s_since"
"""The function in PostgreSQL that reads the log: it keeps its plan, which takes as long to make as all the rest."""
READ_PARAMETERS = ("since", "viewer", "viewer_since", "most")


def build_read_sql(position_column: str, current_position: str, parameter_format: str) -> str:
    """Return the one statement that reads the log; *asked* is how what is asked for is written."""
    since, viewer, viewer_since, most = (parameter_format.format(name) for name in READ_PARAMETERS)
    row = "CAST(kind AS bigint), row_id, CAST(0 AS bigint)"
    return f"""
        SELECT CAST(-1 AS bigint), position, {current_position} FROM {CUT_TABLE}
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG_TABLE} WHERE {IS_SHARED_KIND} AND {position_column} >= {since} LIMIT {most}) AS for_all
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG_TABLE}
            WHERE NOT {IS_SHARED_KIND} AND row_id = {viewer} AND {position_column} >= {viewer_since} LIMIT {most}) AS own"""


SQLITE_READ = build_read_sql("id", SQLITE_POSITION, "%({})s")
POSTGRES_READ = f"SELECT * FROM {READ_FUNCTION}(%s, %s, %s, %s)"


class Changes(NamedTuple):
    """What the log tells."""

    position: int
    """From where to read on the next time."""
    complete_from: int
    """What was noted before this position is no longer there."""
    rows: list[tuple[int, int]]
    """Kind and row_id of each change."""
    is_complete: bool
    """False: there are more than anyone wants to read one by one."""


def changes_query(since: int, viewer_id: int, viewer_since: int) -> SqlQuery:
    """Return the query of what changed from *since* on; of what is the viewers' own, this viewer's *viewer_since*."""
    asked = since, viewer_id, viewer_since, MAX_CHANGES
    return (
        (POSTGRES_READ, asked)
        if connection.vendor == "postgresql"
        else (SQLITE_READ, dict(zip(READ_PARAMETERS, asked, strict=True)))
    )


def decode_changes(rows: Rows) -> Changes:
    """Return what the rows of an answer say."""
    (_, cut, position), *changed = rows
    return Changes(position, cut, [(kind, row_id) for kind, row_id, _ in changed], len(changed) < MAX_CHANGES)


def current_log_position() -> int:
    """Return where the log stands: what is noted from here on was perhaps not yet to be read."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {SQLITE_POSITION if connection.vendor == 'sqlite' else POSTGRES_POSITION}")
        return int(cursor.fetchone()[0])


def invalidate_all_processes() -> None:
    """Have every process forget all that it remembers, before it serves the next request."""
    ChangeLogEntry.objects.create(kind=ChangeKind.EVERYTHING, row_id=0, position=transaction_number())


def transaction_number() -> int | None:
    """Return the number of the transaction under way, where rows are placed by it."""
    if connection.vendor == "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {POSTGRES_TRANSACTION}")
        return int(cursor.fetchone()[0])


def delete_changes_before(position: int) -> int:
    """Forget what is noted before *position*, and say so; return the rows."""
    at = "id" if connection.vendor == "sqlite" else "position"
    with connection.cursor() as cursor:
        # Said first: whoever reads in between forgets too much rather than too little.
        cursor.execute(f"UPDATE {CUT_TABLE} SET position = %s WHERE position < %s", (position, position))
        cursor.execute(f"DELETE FROM {LOG_TABLE} WHERE {at} < %s", (position,))
        return int(cursor.rowcount)


# The triggers


def install_triggers(**_: object) -> None:
    """Make the triggers and indexes of the log, and its one row; after every migration, which may have dropped some."""
    statements = sqlite_statements() if connection.vendor == "sqlite" else postgres_statements()
    # Whoever writes meanwhile waits: nothing is written between the triggers that were and those that are.
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        ChangeLogTruncation.objects.get_or_create(pk=1)
    # Of what was written while some were missing, nobody was told.
    invalidate_all_processes()


def are_triggers_installed() -> bool:
    """Return whether every trigger is there and at work, and the row that says how far the log is cut off."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute(
                """SELECT tgname FROM pg_trigger WHERE tgenabled = 'A'
                UNION SELECT proname FROM pg_proc WHERE proname = %s""",
                (READ_FUNCTION,),
            )
        there = {name for (name,) in cursor.fetchall()}
        cursor.execute(f"SELECT count(*) FROM {CUT_TABLE}")
        return there.issuperset(required_names()) and cursor.fetchone() == (1,)


def required_names() -> list[str]:
    """Return the names of all triggers, and of the function that reads the log."""
    if connection.vendor == "sqlite":
        return [trigger_name(model, event) for model in LOGGED_MODELS for event in ROW_STATES]
    return [
        *(trigger_name(model, event) for model in LOGGED_MODELS for event in (*ROW_STATES, "TRUNCATE")),
        READ_FUNCTION,
    ]


def trigger_name(model: type[Model], event: str) -> str:
    """Return the name of the trigger for an event on a table."""
    return f"note_{model._meta.db_table}_{event.lower()}"


def logged_rows_sql(columns: LoggedColumns, states: Iterable[str], row: str) -> str:
    """Return the SELECT of kind and row_id of all that is noted, for each state of the row; each once."""
    logged = [(state, kind, column) for state in states for kind, column in columns]
    return " UNION ".join(row.format(kind=int(kind), state=state, column=column) for state, kind, column in logged)


def sqlite_statements() -> Iterable[str]:
    """Yield what makes the log on SQLite, which runs triggers row by row."""
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG_TABLE} (id) WHERE {IS_SHARED_KIND}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG_TABLE} (row_id, id) WHERE NOT {IS_SHARED_KIND}"
    for model, noted in LOGGED_MODELS.items():
        for event, states in ROW_STATES.items():
            name, rows = trigger_name(model, event), logged_rows_sql(noted, states, "SELECT {kind}, {state}.{column}")
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield f"""
                CREATE TRIGGER {name} AFTER {event} ON {model._meta.db_table}
                BEGIN INSERT INTO {LOG_TABLE} (kind, row_id) {rows}; END"""


def postgres_statements() -> Iterable[str]:
    """Yield what makes the log on PostgreSQL, which runs triggers once a statement, on all rows that it changed."""
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG_TABLE} (position) WHERE {IS_SHARED_KIND}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG_TABLE} (row_id, position) WHERE NOT {IS_SHARED_KIND}"
    asked = ", ".join(f"{name} bigint" for name in READ_PARAMETERS)
    yield f"""
        CREATE OR REPLACE FUNCTION {READ_FUNCTION}({asked})
        RETURNS TABLE (of_kind bigint, of_subject bigint, position_now bigint)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS
        $body$ BEGIN RETURN QUERY {build_read_sql("position", POSTGRES_POSITION, f"{READ_FUNCTION}.{{}}")}; END $body$"""
    for model, noted in LOGGED_MODELS.items():
        for event, states in ROW_STATES.items():
            rows = logged_rows_sql(noted, states, "SELECT {kind} AS kind, {column} AS row_id FROM {state}_rows")
            note = f"INSERT INTO {LOG_TABLE} (kind, row_id, position) SELECT kind, row_id, {POSTGRES_TRANSACTION} FROM ({rows}) AS noted"
            tables = " ".join(f"{state} TABLE AS {state}_rows" for state in states)
            yield from postgres_trigger(model, event, note, f"REFERENCING {tables}")
        everything = f"INSERT INTO {LOG_TABLE} (kind, row_id, position) VALUES ({ChangeKind.EVERYTHING:d}, 0, {POSTGRES_TRANSACTION})"
        yield from postgres_trigger(model, "TRUNCATE", everything, "")


def postgres_trigger(model: type[Model], event: str, action: str, referencing: str) -> Iterable[str]:
    """Yield what makes one trigger with its function."""
    name, table = trigger_name(model, event), model._meta.db_table
    yield f"DROP TRIGGER IF EXISTS {name} ON {table}"
    yield f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN {action}; RETURN NULL; END $body$"""
    yield f"""
        CREATE TRIGGER {name} AFTER {event} ON {table} {referencing}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}()"""
    # Also for whoever copies rows with triggers off, as replication and pg_restore may.
    yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
