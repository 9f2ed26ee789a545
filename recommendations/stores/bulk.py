"""
Insert and update columns of a table, many rows per statement, on SQLite and PostgreSQL.

Django's `bulk_create` creates an object per row and binds at most 999 values per statement on SQLite. It inserted
11,000 interactions a second on the machine where this module inserted 60,000. Model defaults are filled in; `save()`,
signals and validators are not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, cast

import numpy as np
from django.db import connection, models, transaction
from django.db.backends.utils import CursorWrapper

from recommendations.contracts import BoolArray
from recommendations.stores.sql import to_array, wanted_rows

BATCH_ROWS = 10_000
"""Rows per statement. Changes the speed, never the result."""
MIN_COPY_ROWS = 50
"""
Rows from which PostgreSQL gets them by COPY. Changes the speed, never the result.

Creating and dropping the temporary table for COPY takes longer than inserting one row. Beyond about fifty rows, binding
each value of a statement takes longer than both.
"""

Column = Sequence[object] | np.ndarray
"""The values of one field, one per row. Times are datetime64 in UTC or aware datetimes."""


def insert_columns(
    model: type[models.Model], columns: Mapping[str, Column], shared_values: Mapping[str, object] | None = None
) -> int:
    """
    Insert rows and return how many were inserted.

    *columns* holds one sequence per attribute name, all of one length; *shared_values* one value for all rows. A row
    that violates a uniqueness constraint is skipped.
    """
    inserted = 0
    with one_transaction(), connection.cursor() as cursor:
        for names, batch in prepare_batches(model, columns, shared_values or {}):
            inserted += insert_batch(cursor, quote_table(model), names, batch)
    return inserted


def insert_missing(
    model: type[models.Model],
    key: Mapping[str, Sequence[int] | Sequence[str]],
    shared_values: Mapping[str, object],
) -> None:
    """
    Insert those rows with these values of a *key* that do not exist, in their order, by one statement.

    *key* has the columns of a unique constraint, and at least one row; *shared_values* one value for all rows.
    """
    wanted, parameters = wanted_rows(key)
    shared = {**default_values(model, key), **shared_values}
    fields, quote = {f.attname: f for f in model._meta.concrete_fields}, connection.ops.quote_name
    names = ", ".join(quote(str(fields[name].column)) for name in (*key, *shared))
    order = ", ".join(f"wanted.{name}" for name in key)
    values = ", ".join([order, *["%s"] * len(shared)])
    is_same = " AND ".join(f"t.{quote(str(fields[name].column))} = wanted.{name}" for name in key)
    table = quote_table(model)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {wanted}"
            f" WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE {is_same}) ORDER BY {order} ON CONFLICT DO NOTHING",
            [*(fields[name].get_db_prep_save(value, connection) for name, value in shared.items()), *parameters],
        )


def upsert_columns(model: type[models.Model], columns: Mapping[str, Column]) -> None:
    """
    Insert rows, or replace the other columns of the rows with the same primary key.

    *columns* holds one sequence per attribute name, all of one length. The first has the primary keys.
    """
    fields = {f.attname: f for f in model._meta.concrete_fields}
    key, *others = (connection.ops.quote_name(str(fields[name].column)) for name in columns)
    assignments = ", ".join(f"{name} = excluded.{name}" for name in others)
    conflict = f"ON CONFLICT ({key}) DO UPDATE SET {assignments}"
    with one_transaction(), connection.cursor() as cursor:
        for names, batch in prepare_batches(model, columns, {}):
            insert_batch(cursor, quote_table(model), names, batch, conflict)


def insert_new_rows(
    model: type[models.Model], columns: Mapping[str, Column], shared_values: Mapping[str, object], *, key: Sequence[str]
) -> BoolArray:
    """
    Insert rows as `insert_columns` does. Return the mask (n,) of the rows that were inserted.

    *key* holds the columns of a unique constraint. Of several rows with the same key, the first is inserted.
    """
    fields = {f.attname: f for f in model._meta.concrete_fields}
    keys = list(zip(*(prepare_values(fields[name], columns[name]) for name in key), strict=True))
    inserted_keys: set[object] = set()
    with one_transaction(), connection.cursor() as cursor:
        for names, batch in prepare_batches(model, columns, shared_values):
            inserted_keys |= insert_batch_by_key(cursor, model, names, batch, key)
    is_inserted = np.ones(len(keys), np.bool_)
    if len(inserted_keys) < len(keys):
        for position, value in enumerate(keys):
            is_inserted[position] = value in inserted_keys
            inserted_keys.discard(value)
    return is_inserted


def one_transaction() -> transaction.Atomic:
    """
    Return a transaction for many inserts, as part of the current one if there is one.

    Without a transaction SQLite would commit every row separately. A savepoint would be slow: for each row with a
    trigger SQLite looks through what it has saved for the savepoint so far. 50,000 seen posts took 16 s instead of 1 s.
    """
    return transaction.atomic(savepoint=False)


def prepare_batches(
    model: type[models.Model], columns: Mapping[str, Column], shared_values: Mapping[str, object]
) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield the quoted names of the table's columns and up to `BATCH_ROWS` rows, as the database's driver expects."""
    count = len(next(iter(columns.values())))
    shared = {**default_values(model, columns), **shared_values}
    fields = {f.attname: f for f in model._meta.concrete_fields}
    names = ", ".join(connection.ops.quote_name(str(fields[name].column)) for name in (*columns, *shared))
    rows = zip(
        *(prepare_values(fields[name], values) for name, values in columns.items()),
        *([fields[name].get_db_prep_save(value, connection)] * count for name, value in shared.items()),
        strict=True,
    )
    while batch := list(islice(rows, BATCH_ROWS)):
        yield names, batch


def quote_table(model: type[models.Model]) -> str:
    """Return the quoted name of the model's table."""
    return connection.ops.quote_name(model._meta.db_table)


def update_columns(
    model: type[models.Model],
    primary_keys: Sequence[int],
    columns: Mapping[str, Column],
    shared_values: Mapping[str, object],
) -> None:
    """
    Update the rows with *primary_keys*.

    *columns* holds one sequence per attribute name, in the order of the keys; *shared_values* one value for all rows.
    """
    if not len(primary_keys):
        return
    fields = {f.attname: f for f in model._meta.concrete_fields}
    key, table = model._meta.pk, quote_table(model)
    values = {fields[name]: prepare_values(fields[name], column) for name, column in columns.items()}
    shared = {fields[name]: fields[name].get_db_prep_save(value, connection) for name, value in shared_values.items()}
    names = {field: connection.ops.quote_name(str(field.column)) for field in (*values, *shared, key)}
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # One statement: otherwise the driver would take longer for each row than all else.
            assignments = [*(f"{names[field]} = new.{names[field]}" for field in values)]
            assignments += [f"{names[field]} = %s" for field in shared]
            arrays = ", ".join(f"%s::{field.rel_db_type(connection)}[]" for field in (key, *values))
            new = f"unnest({arrays}) AS new ({', '.join(names[field] for field in (key, *values))})"
            condition = f"{table}.{names[key]} = new.{names[key]}"
            parameters: list[Any] = [*shared.values(), *map(to_array, (primary_keys, *values.values()))]
            cursor.execute(f"UPDATE {table} SET {', '.join(assignments)} FROM {new} WHERE {condition}", parameters)
        else:
            assignments = [f"{names[field]} = %s" for field in (*values, *shared)]
            rows = zip(
                *values.values(), *([value] * len(primary_keys) for value in shared.values()), primary_keys, strict=True
            )
            sql = f"UPDATE {table} SET {', '.join(assignments)} WHERE {names[key]} = %s"
            cursor.executemany(sql, list(rows))


def refresh_statistics(*tables: type[models.Model]) -> None:
    """
    Update the query planner's statistics of *tables* after a bulk insert.

    PostgreSQL updates them by itself, but about a minute later. Until then it plans for empty tables: a join of the
    sample's films with its ratings took more than five minutes instead of a fraction of a second.
    """
    with connection.cursor() as cursor:
        for model in tables:
            cursor.execute(f"ANALYZE {quote_table(model)}")


def default_values(model: type[models.Model], columns: Mapping[str, object]) -> dict[str, object]:
    """Return the default of every field that is neither in *columns* nor generated by the database."""
    return {
        field.attname: field.get_default()
        for field in model._meta.concrete_fields
        if field.attname not in columns and not isinstance(field, models.AutoField)
    }


def as_list(values: Column) -> list[Any]:
    """Return the values as Python objects."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def prepare_values(field: models.Field[Any, Any], values: Column) -> list[object]:
    """Return *values* in the form that the database's driver expects for *field*."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return to_database_times(values)
    items = as_list(values)
    if isinstance(field, models.JSONField):
        return [json.dumps(value, ensure_ascii=False) for value in items]
    if isinstance(field, models.DateTimeField) and connection.vendor == "sqlite":
        return [value if value is None else format_time(value) for value in items]
    if isinstance(field, models.UUIDField):
        return [field.get_db_prep_save(value, connection) for value in items]
    return items


def format_time(value: datetime) -> str:
    """Return an aware time as Django stores it on SQLite. Django's own conversion takes five times as long."""
    return str(value.astimezone(UTC).replace(tzinfo=None))


def to_database_times(values: np.ndarray) -> list[object]:
    """Return datetime64 (n,), in UTC, as the driver expects them. One by one would take twice as long on SQLite."""
    if connection.vendor == "sqlite" and len(values):
        # As Django stores them: with a fraction of a second only if there is one.
        texts = np.char.replace(np.datetime_as_string(values, unit="us"), "T", " ")
        return cast("list[object]", np.char.replace(texts, ".000000", "").tolist())
    return [value.replace(tzinfo=UTC) for value in values.astype("datetime64[us]").tolist()]


def insert_batch(
    cursor: CursorWrapper,
    table: str,
    columns: str,
    rows: list[tuple[Any, ...]],
    conflict: str = "ON CONFLICT DO NOTHING",
) -> int:
    """Insert *rows* and return how many were inserted, or updated in a *conflict*."""
    if connection.vendor == "postgresql":
        return len(insert_returning(cursor, table, columns, rows, "1", conflict))
    marks = ", ".join(["%s"] * len(rows[0]))
    cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks}) {conflict}", rows)
    return int(cursor.rowcount)


def insert_batch_by_key(
    cursor: CursorWrapper, model: type[models.Model], columns: str, rows: list[tuple[Any, ...]], key: Sequence[str]
) -> set[object]:
    """Insert *rows* and return the values of the *key* columns in those that were inserted."""
    table = quote_table(model)
    if connection.vendor == "postgresql":
        key_columns = ", ".join(map(connection.ops.quote_name, key))
        return set(insert_returning(cursor, table, columns, rows, key_columns))
    # SQLite has one writer, which this transaction is: rows with greater primary keys than before are new. The driver
    # would convert a time column to a datetime, which is not the text in *rows*; it does not convert an expression.
    key_columns = ", ".join(f"+{connection.ops.quote_name(name)}" for name in key)
    pk = connection.ops.quote_name(str(model._meta.pk.column))
    cursor.execute(f"SELECT ifnull(max({pk}), 0) FROM {table}")
    (last_pk,) = cursor.fetchone()
    insert_batch(cursor, table, columns, rows)
    cursor.execute(f"SELECT {key_columns} FROM {table} WHERE {pk} > %s", (last_pk,))
    return set(cursor.fetchall())


def insert_returning(
    cursor: CursorWrapper,
    table: str,
    columns: str,
    rows: list[tuple[Any, ...]],
    returned: str,
    conflict: str = "ON CONFLICT DO NOTHING",
) -> list[tuple[Any, ...]]:
    """Insert *rows* into PostgreSQL, and return the expressions *returned* of each row that was written."""
    ending = f"{conflict} RETURNING {returned}"
    if len(rows) < MIN_COPY_ROWS:
        marks = ", ".join([f"({', '.join(['%s'] * len(rows[0]))})"] * len(rows))
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES {marks} {ending}", list(chain.from_iterable(rows)))
        return list(cursor.fetchall())
    # COPY cannot skip rows that violate a constraint. So the rows are inserted from a temporary table.
    cursor.execute(f"CREATE TEMPORARY TABLE incoming AS SELECT {columns} FROM {table} WITH NO DATA")
    with cursor.copy(f"COPY incoming ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming {ending}")
    inserted = list(cursor.fetchall())
    cursor.execute("DROP TABLE incoming")
    return inserted
