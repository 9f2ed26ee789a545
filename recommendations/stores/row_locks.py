"""
Locks of rows, which a transaction holds until it ends. `monitoring/transactions.py` has the order of locks.

The locks are the weakest that exclude other writers of a row (`FOR NO KEY UPDATE`), so new rows can refer to a locked
row meanwhile. On SQLite the functions do nothing: there, a transaction is the only writer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection, models

from recommendations.models import Job, Member, Post


def lock_members(member_pks: Iterable[int], *, keep_references_out: bool = False) -> None:
    """Lock the members that exist, in the order of their primary keys."""
    lock_rows(Member, member_pks, keep_references_out=keep_references_out)


def lock_posts(post_pks: Iterable[int], *, keep_references_out: bool = False) -> None:
    """Lock the posts that exist, in the order of their primary keys."""
    lock_rows(Post, post_pks, keep_references_out=keep_references_out)


def lock_job(job_id: UUID) -> None:
    """Lock a job, which guards its chunks."""
    lock_rows(Job, [job_id])


def lock_job_kind(kind: str) -> None:
    """Wait until no other transaction holds this lock of a kind of job. There is no row to lock for a kind."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"kind of job: {kind}"])


def lock_rows(model: type[models.Model], pks: Iterable[Any], *, keep_references_out: bool = False) -> None:
    """
    Lock the rows that exist, in the order of their primary keys.

    *keep_references_out*: before the rows are deleted. A new row that refers to one of them then waits, and fails.
    """
    if connection.vendor == "sqlite" or not (keys := sorted(set(pks))):
        return
    quote = connection.ops.quote_name
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    with connection.cursor() as cursor:
        strength = "UPDATE" if keep_references_out else "NO KEY UPDATE"
        sql = f"SELECT 1 FROM {table} WHERE {key} = ANY(%s) ORDER BY {key} FOR {strength}"
        cursor.execute(sql, [keys])
