"""Finds rows by their time in a table without an index on it, whose ids rise with that time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet


def first_id_since(rows: QuerySet[Any, Model], field: str, moment: datetime) -> int:
    """
    Return an id that is at or shortly before the first row whose time *field* is *moment* or later.

    Rows get their time when they are inserted, so a binary search of about twenty queries, each for one row by its id,
    finds the place. An index on the time would have to be written for each row. Without such a row, the id is the last.
    """
    low, high = 0, rows.order_by("-pk").values_list("pk", flat=True).first() or 0
    while low < high:
        middle = (low + high) // 2
        row = rows.filter(pk__gt=middle).order_by("pk").values_list(field, "pk").first()
        if row is None or row[0] >= moment:
            high = middle
        else:
            low = row[1]
    return low
