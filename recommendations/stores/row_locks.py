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


def lock_members(member_pks: Iterable[int]) -> None:
    """Lock the members that exist, in the order of their primary keys."""
    lock_rows(Member, member_pks)


def lock_posts(post_pks: Iterable[int]) -> None:
    """Lock the posts that exist, in the order of their primary keys."""
    lock_rows(Post, post_pks)


def lock_job(job_id: UUID) -> None:
    """Lock a job, which guards its chunks."""
    lock_rows(Job, [job_id])


def lock_rows(model: type[models.Model], pks: Iterable[Any]) -> None:
    """Lock the rows that exist, in the order of their primary keys."""
    if connection.vendor == "sqlite":
        return
    quote = connection.ops.quote_name
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    with connection.cursor() as cursor:
        sql = f"SELECT 1 FROM {table} WHERE {key} = ANY(%s) ORDER BY {key} FOR NO KEY UPDATE"
        cursor.execute(sql, [sorted(set(pks))])
