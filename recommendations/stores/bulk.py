"""
Put columns into a table, many rows a statement, on SQLite and PostgreSQL.

Django's `bulk_create` makes an object a row and binds at most 999 values a statement on SQLite: 11,000
interactions a second on the machine where this takes 60,000. Model defaults are filled in; `save()`, signals
and validators are not run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from itertools import islice
from typing import Any

import numpy as np
from django.db import connection, models, transaction
from django.db.backends.utils import CursorWrapper

BATCH_ROWS = 10_000
"""Rows a statement. Changes the speed, never what is kept."""

Column = Sequence[object] | np.ndarray
"""The values of one field, a value a row; times as datetime64 in UTC or as aware datetimes."""


def insert_columns(
    model: type[models.Model], columns: Mapping[str, Column], shared_values: Mapping[str, object] | None = None
) -> int:
    """
    Insert the rows that *columns* (by attribute name, of one length) hold and return how many were new.

    *same* gives values that all rows share. Rows that a uniqueness constraint refuses are left out.
    """
    count = len(next(iter(columns.values())))
    shared = {**default_values(model, columns), **(shared_values or {})}
    fields = {f.attname: f for f in model._meta.concrete_fields}
    quote = connection.ops.quote_name
    names = ", ".join(quote(str(fields[name].column)) for name in (*columns, *shared))
    rows = zip(
        *(prepare_values(fields[name], values) for name, values in columns.items()),
        *([fields[name].get_db_prep_save(value, connection)] * count for name, value in shared.items()),
        strict=True,
    )
    inserted = 0
    # Without a transaction SQLite commits every row by itself.
    with transaction.atomic(), connection.cursor() as cursor:
        while batch := list(islice(rows, BATCH_ROWS)):
            inserted += insert_batch(cursor, quote(model._meta.db_table), names, batch)
    return inserted


def refresh_statistics(*tables: type[models.Model]) -> None:
    """
    Tell the query planner how large *tables* have become.

    Until PostgreSQL gets to it by itself, a minute or so later, it plans for the empty table: a join of the
    sample's films with its ratings then took more than five minutes instead of a fraction of a second.
    """
    with connection.cursor() as cursor:
        for model in tables:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")


def default_values(model: type[models.Model], columns: Mapping[str, object]) -> dict[str, object]:
    """Return the default of every field that is neither *given* nor made by the database."""
    return {
        field.attname: field.get_default()
        for field in model._meta.concrete_fields
        if field.attname not in columns and not isinstance(field, models.AutoField)
    }


def prepare_values(field: models.Field[Any, Any], values: Column) -> list[object]:
    """Return *values* as the database's driver takes them for *field*."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return to_database_times(values)
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if isinstance(field, models.JSONField):
        return [json.dumps(value, ensure_ascii=False) for value in listed]
    if isinstance(field, models.DateTimeField | models.UUIDField):
        return [field.get_db_prep_save(value, connection) for value in listed]
    return listed


def to_database_times(values: np.ndarray) -> list[object]:
    """Return datetime64 (n,), in UTC, as the driver takes them; one by one doubles the time on SQLite."""
    if connection.vendor == "sqlite" and len(values):
        written: list[object] = np.char.replace(np.datetime_as_string(values, unit="s"), "T", " ").tolist()
        return written
    return [value.replace(tzinfo=UTC) for value in values.astype("datetime64[us]").tolist()]


def insert_batch(cursor: CursorWrapper, table: str, columns: str, rows: list[tuple[Any, ...]]) -> int:
    """Insert *rows* and return how many were new."""
    if connection.vendor == "postgresql":
        return copy_batch(cursor, table, columns, rows)
    marks = ", ".join(["%s"] * len(rows[0]))
    cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows)
    return int(cursor.rowcount)


def copy_batch(cursor: CursorWrapper, table: str, columns: str, rows: list[tuple[Any, ...]]) -> int:
    """The same by COPY, which leaves out no rows by itself: hence a table that lives as long as the batch."""
    cursor.execute(f"CREATE TEMPORARY TABLE incoming AS SELECT {columns} FROM {table} WITH NO DATA")
    with cursor.copy(f"COPY incoming ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming ON CONFLICT DO NOTHING")
    inserted = int(cursor.rowcount)
    cursor.execute("DROP TABLE incoming")
    return inserted
