"""
Reads interactions as columns, for learning, which reads thousands at once.

Model instances, and conversions of each time, would take longer than everything that is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, QuerySet, TextField
from django.db.models.sql.compiler import SQLCompiler

from recommendations.contracts import BoolArray, Float64Array, Int64Array, InteractionKind
from recommendations.models import Interaction, Post
from recommendations.stores.sql import Rows, execute_query, wanted_rows

KINDS = tuple(InteractionKind)
"""A column has the position of a kind in this tuple."""
KIND_NUMBERS = {kind.value: number for number, kind in enumerate(KINDS)}
"""The positions of the kinds in `KINDS`."""
MICROSECONDS = 1_000_000
DAY_MICROSECONDS = 86_400 * MICROSECONDS
POSTGRES_TIME = "(extract(epoch FROM {}) * 1000000)::bigint"
SQLITE_TIME = "+{}"


def weigh_kinds(weights: Mapping[str, float]) -> Float64Array:
    """Return the weights of `KINDS`, in their order."""
    return np.array([weights[kind] for kind in KINDS])


class StoredTime(Func):
    """A time in a form that `to_microseconds` reads: microseconds since 1970 on PostgreSQL, text on SQLite."""

    output_field = TextField()  # Django converts none of its values
    template = POSTGRES_TIME.format("%(expressions)s")

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Return the text itself: the driver would convert a column to a datetime, but no expression."""
        return self.as_sql(compiler, connection, template=SQLITE_TIME.format("%(expressions)s"), **context)


def stored_time(column: str) -> str:
    """Return the SQL expression of a `StoredTime` of this column."""
    return (SQLITE_TIME if connection.vendor == "sqlite" else POSTGRES_TIME).format(column)


def to_microseconds(values: Sequence[int | str]) -> Int64Array:
    """Return the values (n,) of a `StoredTime` as microseconds since 1970."""
    if connection.vendor == "sqlite":
        return np.array(values, "datetime64[us]").astype(np.int64)
    return np.array(values, np.int64)


@dataclass(frozen=True, eq=False)
class InteractionColumns:
    """Columns (n,) of interactions, in any order."""

    ids: Int64Array
    member_ids: Int64Array
    post_ids: Int64Array
    author_ids: Int64Array
    kinds: Int64Array  # the position in `KINDS`
    microseconds: Int64Array  # since 1970

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_rows(cls, rows: Rows) -> InteractionColumns:
        """Return the columns of rows: id, member, post, author, kind and `StoredTime`."""
        if not rows:
            return cls(*np.zeros((6, 0), np.int64))
        *ids, kinds, times = zip(*rows, strict=True)
        numbers = [KIND_NUMBERS[kind] for kind in kinds]
        columns = [np.array(column, np.int64) for column in (*ids, numbers)]
        return cls(*[*columns, to_microseconds(times)])

    @cached_property
    def times(self) -> Float64Array:
        """Unix seconds."""
        return self.microseconds / MICROSECONDS

    @cached_property
    def days(self) -> Int64Array:
        """Days in UTC since 1970."""
        return self.microseconds // DAY_MICROSECONDS

    def are_of(self, kinds: Iterable[InteractionKind]) -> BoolArray:
        """Return the mask (n,) of the interactions of these kinds."""
        return np.isin(self.kinds, [KIND_NUMBERS[kind] for kind in kinds])

    def select(self, rows: BoolArray | Int64Array) -> InteractionColumns:
        """Return the rows of a mask (n,), or those at these positions (m,)."""
        return InteractionColumns(*(column[rows] for column in self._columns))

    def union(self, *others: InteractionColumns) -> InteractionColumns:
        """Return the rows of all, each once, in the order of time and then of id."""
        parts = zip(self._columns, *(other._columns for other in others), strict=True)
        together = InteractionColumns(*map(np.concatenate, parts))
        unique = together.select(np.unique(together.ids, return_index=True)[1])
        return unique.select(np.lexsort((unique.ids, unique.microseconds)))

    @property
    def _columns(self) -> tuple[Int64Array, ...]:
        return (self.ids, self.member_ids, self.post_ids, self.author_ids, self.kinds, self.microseconds)


COLUMN_NAMES = ("id", "member_id", "post_id", "post__author_id", "kind")


def read_interactions(interactions: QuerySet[Interaction]) -> InteractionColumns:
    """Return the columns of the interactions, in the order of the query."""
    return InteractionColumns.from_rows(list(interactions.values_list(*COLUMN_NAMES, StoredTime("occurred_at"))))


INTERACTION_TABLE, POST_TABLE = (connection.ops.quote_name(model._meta.db_table) for model in (Interaction, Post))
SELECT_LEARNED = f"""
    SELECT i.id, i.member_id, i.post_id, p.author_id, i.kind, {{time}}
    FROM {{wanted}} CROSS JOIN {INTERACTION_TABLE} i JOIN {POST_TABLE} p ON p.id = i.post_id
    WHERE i.is_learned AND NOT i.is_ignored AND {{condition}}"""
"""On SQLite, CROSS JOIN means that an index of the interactions is searched for each wanted row."""


class Wanted(NamedTuple):
    """Learned interactions to find: columns (n,), and the condition for an interaction `i` and a row of `wanted`."""

    columns: Mapping[str, Int64Array]
    condition: str


def of_pairs(member_ids: Int64Array, post_ids: Int64Array) -> Wanted:
    """Return what finds the interactions of each of these members with the post (n,) beside it. Pairs are distinct."""
    condition = "i.member_id = wanted.member_id AND i.post_id = wanted.post_id"
    return Wanted({"member_id": member_ids, "post_id": post_ids}, condition)


def on_days(member_ids: Int64Array, days: Int64Array) -> Wanted:
    """Return what finds the interactions of each of these members on the day (n,) beside it. Pairs are distinct."""
    start = "datetime({} * 86400, 'unixepoch')" if connection.vendor == "sqlite" else "to_timestamp({} * 86400)"
    bounds = start.format("wanted.day"), start.format("(wanted.day + 1)")
    condition = "i.member_id = wanted.member_id AND i.occurred_at >= {} AND i.occurred_at < {}".format(*bounds)
    return Wanted({"member_id": member_ids, "day": days}, condition)


def find_learned(*wanted: Wanted) -> InteractionColumns:
    """Return the learned interactions that are wanted, by one query. One that is wanted twice may be there twice."""
    queries: list[str] = []
    parameters: list[Any] = []
    time = stored_time("i.occurred_at")
    for columns, condition in wanted:
        if len(columns["member_id"]):
            table, own = wanted_rows({name: values.tolist() for name, values in columns.items()})
            queries.append(SELECT_LEARNED.format(time=time, wanted=table, condition=condition))
            parameters += own
    return InteractionColumns.from_rows(execute_query(" UNION ALL ".join(queries), parameters) if queries else [])
