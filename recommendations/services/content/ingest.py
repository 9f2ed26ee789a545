"""
Create or update members and posts that a platform sends through the API. Items with unchanged values are left alone.

Items follow the same rules as rows of an imported file (`importing/`). A bad item affects no other: each item has its
own result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.services.content.importing.fields import FileLayout, file_layouts
from recommendations.services.content.importing.problems import RowError
from recommendations.services.content.importing.write_rows import ParsedRow, WriteResult, write_rows
from values.text import storage_problem

EMBED_DELAY_SECONDS = 1.0
"""How long new posts are collected before a worker embeds them. Changes the speed."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The result of one item."""

    id: str | None
    """The id as sent; None if the item has no usable id."""
    status: Literal["created", "updated", "unchanged", "rejected"]
    problem: str = ""
    field: str = ""
    """The field with the error; empty if the error concerns the whole item."""


def ingest_items(*, kind: Literal["members", "posts"], items: Sequence[object], now: datetime) -> list[IngestResult]:
    """
    Write *items*, each an object with an `id`. Return the result of each item, in order.

    Of several items with the same id, the later override the earlier: the first has the status that it would have
    alone, and the others together have the status of a second request.
    """
    layout = file_layouts(now.year)[kind]
    parsed = [parse_item(layout, item, number, now) for number, item in enumerate(items)]
    valid: list[ParsedRow] = [
        (number, fields) for number, fields in enumerate(parsed) if not isinstance(fields, RowError)
    ]
    ids = {number: str(fields["id"]) for number, fields in valid}
    first_numbers = {id: number for number, id in reversed(ids.items())}
    first, others = write_items(
        kind,
        [row for row in valid if first_numbers[ids[row[0]]] == row[0]],
        [row for row in valid if first_numbers[ids[row[0]]] != row[0]],
        now,
    )
    errors = {error.line: error for error in (*parsed, *first.errors, *others.errors) if isinstance(error, RowError)}
    if kind == "posts" and (first.created_ids or first.updated_ids or others.created_ids or others.updated_ids):
        task_queue.enqueue(task_queue.EMBED_POSTS, after_seconds=EMBED_DELAY_SECONDS)
    results = []
    for number, item in enumerate(items):
        if number in errors:
            results.append(build_rejection(item, errors[number]))
            continue
        written = first if first_numbers[ids[number]] == number else others
        results.append(IngestResult(ids[number], written_status(written, ids[number])))
    return results


def parse_item(layout: FileLayout, item: object, number: int, now: datetime) -> dict[str, Any] | RowError:
    """Return the parsed fields of the item, or its error."""
    if not isinstance(item, Mapping):
        return RowError(number, "", "is not an object", 'Write {"id": "…", …}.')
    return layout.parse(item, number, now)


@write_transaction
def write_items(
    kind: str, first: Sequence[ParsedRow], others: Sequence[ParsedRow], now: datetime
) -> tuple[WriteResult, WriteResult]:
    """
    Write the *first* rows of each id, then the *others*. Return the results of both.

    Copies of the rows are written: writing changes them, and a transaction may be run again.
    """
    results = [
        write_rows(kind, [(number, dict(fields)) for number, fields in rows], now) if rows else WriteResult()
        for rows in (first, others)
    ]
    return results[0], results[1]


def written_status(written: WriteResult, id: str) -> Literal["created", "updated", "unchanged"]:
    """Return the status of a written item."""
    if id in written.created_ids:
        return "created"
    return "updated" if id in written.updated_ids else "unchanged"


def build_rejection(item: object, error: RowError) -> IngestResult:
    """Return the result of a rejected item."""
    id = item.get("id") if isinstance(item, Mapping) else None
    problem = f"{error.field} {error.problem}. {error.advice}".strip()
    is_usable = isinstance(id, str) and not storage_problem(id)
    return IngestResult(id if is_usable else None, "rejected", problem, error.field)
