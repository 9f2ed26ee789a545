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
    Change,
    ChangeCut,
    InterestProfile,
    LessOf,
    Member,
    Post,
    PrivacySettings,
    Relationship,
    Seen,
)
from recommendations.models.changes import ChangeKind
from recommendations.stores.sql import Question, Rows

MOST = 5_000
"""Changes of one kind that are read at once; over it everything is forgotten. Changes the speed."""

Noted = tuple[tuple[ChangeKind, str], ...]
"""What a row of a table is noted as: kind, and the column that names the subject."""

OF_ACCOUNT = (ChangeKind.AUTHOR, ChangeKind.VIEWER)
WATCHED: dict[type[Model], Noted] = {
    Post: ((ChangeKind.POST, "id"),),
    Member: tuple((kind, "id") for kind in OF_ACCOUNT),
    PrivacySettings: tuple((kind, "member_id") for kind in OF_ACCOUNT),
    Relationship: ((ChangeKind.VIEWER, "source_id"), (ChangeKind.VIEWER, "target_id")),
    LessOf: ((ChangeKind.VIEWER, "member_id"),),
    InterestProfile: ((ChangeKind.VIEWER, "member_id"),),
    Seen: ((ChangeKind.SEEN, "member_id"),),
}
STATES = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""The states of a row that an event has: a row may be moved from one subject to another."""

LOG, CUT = (model._meta.db_table for model in (Change, ChangeCut))
OF_ALL = f"kind <= {ChangeKind.AUTHOR:d}"
SQLITE_NOW = f"(SELECT ifnull(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = '{LOG}')"
XACT = "pg_current_xact_id()::text::bigint"
POSTGRES_NOW = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
READER = f"{LOG}s_since"
"""The function in PostgreSQL that reads the log: it keeps its plan, which takes as long to make as all the rest."""
ASKED = ("since", "viewer", "viewer_since", "most")


def reading_sql(at: str, now: str, asked: str) -> str:
    """Return the one statement that reads the log; *asked* is how what is asked for is written."""
    since, viewer, viewer_since, most = (asked.format(name) for name in ASKED)
    row = "CAST(kind AS bigint), subject, CAST(0 AS bigint)"
    return f"""
        SELECT CAST(-1 AS bigint), position, {now} FROM {CUT}
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG} WHERE {OF_ALL} AND {at} >= {since} LIMIT {most}) AS for_all
        UNION ALL SELECT * FROM (
            SELECT {row} FROM {LOG}
            WHERE NOT {OF_ALL} AND subject = {viewer} AND {at} >= {viewer_since} LIMIT {most}) AS own"""


READ = reading_sql("id", SQLITE_NOW, "%({})s")
CALL = f"SELECT * FROM {READER}(%s, %s, %s, %s)"


class Changes(NamedTuple):
    """What the log tells."""

    position: int
    """From where to read on the next time."""
    cut: int
    """What was noted before this position is no longer there."""
    rows: list[tuple[int, int]]
    """Kind and subject of each change."""
    is_whole: bool
    """False: there are more than anyone wants to read one by one."""


def question(since: int, viewer_id: int, viewer_since: int) -> Question:
    """Return the query of what changed from *since* on; of what is the viewers' own, this viewer's *viewer_since*."""
    asked = since, viewer_id, viewer_since, MOST
    return (CALL, asked) if connection.vendor == "postgresql" else (READ, dict(zip(ASKED, asked, strict=True)))


def told(rows: Rows) -> Changes:
    """Return what the rows of an answer say."""
    (_, cut, position), *changed = rows
    return Changes(position, cut, [(kind, subject) for kind, subject, _ in changed], len(changed) < MOST)


def position() -> int:
    """Return where the log stands: what is noted from here on was perhaps not yet to be read."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {SQLITE_NOW if connection.vendor == 'sqlite' else POSTGRES_NOW}")
        return int(cursor.fetchone()[0])


def forget_everywhere() -> None:
    """Have every process forget all that it remembers, before it serves the next request."""
    Change.objects.create(kind=ChangeKind.EVERYTHING, subject=0, position=transaction_number())


def transaction_number() -> int | None:
    """Return the number of the transaction under way, where rows are placed by it."""
    if connection.vendor == "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {XACT}")
        return int(cursor.fetchone()[0])


def cut_before(position: int) -> int:
    """Forget what is noted before *position*, and say so; return the rows."""
    at = "id" if connection.vendor == "sqlite" else "position"
    with connection.cursor() as cursor:
        # Said first: whoever reads in between forgets too much rather than too little.
        cursor.execute(f"UPDATE {CUT} SET position = %s WHERE position < %s", (position, position))
        cursor.execute(f"DELETE FROM {LOG} WHERE {at} < %s", (position,))
        return int(cursor.rowcount)


# The triggers


def install(**_: object) -> None:
    """Make the triggers and indexes of the log, and its one row; after every migration, which may have dropped some."""
    statements = sqlite_statements() if connection.vendor == "sqlite" else postgres_statements()
    # Whoever writes meanwhile waits: nothing is written between the triggers that were and those that are.
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        ChangeCut.objects.get_or_create(pk=1)
    # Of what was written while some were missing, nobody was told.
    forget_everywhere()


def is_kept() -> bool:
    """Return whether every trigger is there and at work, and the row that says how far the log is cut off."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute(
                """SELECT tgname FROM pg_trigger WHERE tgenabled = 'A'
                UNION SELECT proname FROM pg_proc WHERE proname = %s""",
                (READER,),
            )
        there = {name for (name,) in cursor.fetchall()}
        cursor.execute(f"SELECT count(*) FROM {CUT}")
        return there.issuperset(needed()) and cursor.fetchone() == (1,)


def needed() -> list[str]:
    """Return the names of all triggers, and of the function that reads the log."""
    if connection.vendor == "sqlite":
        return [name_of(model, event) for model in WATCHED for event in STATES]
    return [*(name_of(model, event) for model in WATCHED for event in (*STATES, "TRUNCATE")), READER]


def name_of(model: type[Model], event: str) -> str:
    """Return the name of the trigger for an event on a table."""
    return f"note_{model._meta.db_table}_{event.lower()}"


def noted_rows(noted: Noted, states: Iterable[str], row: str) -> str:
    """Return the SELECT of kind and subject of all that is noted, for each state of the row; each once."""
    columns = [(state, kind, column) for state in states for kind, column in noted]
    return " UNION ".join(row.format(kind=int(kind), state=state, column=column) for state, kind, column in columns)


def sqlite_statements() -> Iterable[str]:
    """Yield what makes the log on SQLite, which runs triggers row by row."""
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG} (id) WHERE {OF_ALL}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG} (subject, id) WHERE NOT {OF_ALL}"
    for model, noted in WATCHED.items():
        for event, states in STATES.items():
            name, rows = name_of(model, event), noted_rows(noted, states, "SELECT {kind}, {state}.{column}")
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield f"""
                CREATE TRIGGER {name} AFTER {event} ON {model._meta.db_table}
                BEGIN INSERT INTO {LOG} (kind, subject) {rows}; END"""


def postgres_statements() -> Iterable[str]:
    """Yield what makes the log on PostgreSQL, which runs triggers once a statement, on all rows that it changed."""
    yield f"CREATE INDEX IF NOT EXISTS changes_for_all ON {LOG} (position) WHERE {OF_ALL}"
    yield f"CREATE INDEX IF NOT EXISTS changes_of_viewers ON {LOG} (subject, position) WHERE NOT {OF_ALL}"
    asked = ", ".join(f"{name} bigint" for name in ASKED)
    yield f"""
        CREATE OR REPLACE FUNCTION {READER}({asked})
        RETURNS TABLE (of_kind bigint, of_subject bigint, position_now bigint)
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS
        $body$ BEGIN RETURN QUERY {reading_sql("position", POSTGRES_NOW, f"{READER}.{{}}")}; END $body$"""
    for model, noted in WATCHED.items():
        for event, states in STATES.items():
            rows = noted_rows(noted, states, "SELECT {kind} AS kind, {column} AS subject FROM {state}_rows")
            note = f"INSERT INTO {LOG} (kind, subject, position) SELECT kind, subject, {XACT} FROM ({rows}) AS noted"
            tables = " ".join(f"{state} TABLE AS {state}_rows" for state in states)
            yield from postgres_trigger(model, event, note, f"REFERENCING {tables}")
        everything = f"INSERT INTO {LOG} (kind, subject, position) VALUES ({ChangeKind.EVERYTHING:d}, 0, {XACT})"
        yield from postgres_trigger(model, "TRUNCATE", everything, "")


def postgres_trigger(model: type[Model], event: str, does: str, referencing: str) -> Iterable[str]:
    """Yield what makes one trigger with its function."""
    name, table = name_of(model, event), model._meta.db_table
    yield f"DROP TRIGGER IF EXISTS {name} ON {table}"
    yield f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
        $body$ BEGIN {does}; RETURN NULL; END $body$"""
    yield f"""
        CREATE TRIGGER {name} AFTER {event} ON {table} {referencing}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}()"""
    # Also for whoever copies rows with triggers off, as replication and pg_restore may.
    yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
