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

    Of two items with the same id, the later overrides the earlier, and both have the same status.
    """
    layout = file_layouts(now)[kind]
    parsed = [parse_item(layout, item, number) for number, item in enumerate(items)]
    valid: list[ParsedRow] = [
        (number, fields) for number, fields in enumerate(parsed) if not isinstance(fields, RowError)
    ]
    ids = {number: str(fields["id"]) for number, fields in valid}
    written = write_items(kind, valid, now)
    errors = {error.line: error for error in (*parsed, *written.errors) if isinstance(error, RowError)}
    if kind == "posts" and (written.created_ids or written.updated_ids):
        task_queue.enqueue(task_queue.EMBED_POSTS, after_seconds=EMBED_DELAY_SECONDS)
    return [
        build_rejection(item, errors[n]) if n in errors else IngestResult(ids[n], written_status(written, ids[n]))
        for n, item in enumerate(items)
    ]


def parse_item(layout: FileLayout, item: object, number: int) -> dict[str, Any] | RowError:
    """Return the parsed fields of the item, or its error."""
    if not isinstance(item, Mapping):
        return RowError(number, "", "is not an object", 'Write {"id": "…", …}.')
    return layout.parse({str(name): value for name, value in item.items()}, number)


@write_transaction
def write_items(kind: str, rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    """Write copies of the rows: writing changes them, and a transaction may be run again."""
    return write_rows(kind, [(number, dict(fields)) for number, fields in rows], now)


def written_status(written: WriteResult, id: str) -> Literal["created", "updated", "unchanged"]:
    """Return the status of a written item."""
    if id in written.created_ids:
        return "created"
    return "updated" if id in written.updated_ids else "unchanged"


def build_rejection(item: object, error: RowError) -> IngestResult:
    """Return the result of a rejected item."""
    id = item.get("id") if isinstance(item, Mapping) else None
    problem = f"{error.field} {error.problem}. {error.advice}".strip()
    return IngestResult(id if isinstance(id, str) else None, "rejected", problem, error.field)
