"""
Take in members and posts as a platform sends them: new ones are made, known ones changed, the same ones left alone.

The rules of a row are those of a file that is imported (`importing/`). A bad item costs itself: each has its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db import IntegrityError, transaction

from recommendations import task_queue
from recommendations.services.content.importing.fields import FileLayout, file_layouts
from recommendations.services.content.importing.problems import RowError
from recommendations.services.content.importing.write_rows import ParsedRow, WriteResult, write_rows

FILE_FIELD_NAMES = {"id": "external_id", "author_id": "author"}
"""What the API calls a field, and what a file does."""
API_FIELD_NAMES = {theirs: ours for ours, theirs in FILE_FIELD_NAMES.items()}
EMBED_DELAY_SECONDS = 1.0
"""How long new posts gather before a worker embeds them. Changes the speed."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of one item."""

    id: str | None
    """As it was sent; None if it had none that can be used."""
    status: Literal["created", "updated", "unchanged", "refused"]
    problem: str = ""
    field: str = ""
    """What was wrong with it; empty: the item as a whole."""


def ingest_items(*, kind: Literal["members", "posts"], items: Sequence[object], now: datetime) -> list[IngestResult]:
    """
    Write *items*, each an object with an `id`, and return what became of each, in their order.

    Of two items with one id the later is laid over the earlier, and both have the same status.
    """
    layout = file_layouts(now)[kind]
    parsed = [parse_item(layout, item, number) for number, item in enumerate(items)]
    good: list[ParsedRow] = [(number, said) for number, said in enumerate(parsed) if not isinstance(said, RowError)]
    ids = {number: str(said["external_id"]) for number, said in good}
    written = write_with_retry(kind, good, now)
    wrong = [row for row in parsed if isinstance(row, RowError)] + [with_api_names(error) for error in written.errors]
    refused = {error.line: error for error in wrong}
    if kind == "posts" and (written.created_ids or written.updated_ids):
        task_queue.enqueue(task_queue.EMBED_POSTS, after_seconds=EMBED_DELAY_SECONDS)
    return [
        build_rejection(item, refused[n]) if n in refused else IngestResult(ids[n], written_status(written, ids[n]))
        for n, item in enumerate(items)
    ]


def parse_item(layout: FileLayout, item: object, number: int) -> dict[str, Any] | RowError:
    """Return the item's fields by their names in files, or what is wrong with it."""
    if not isinstance(item, Mapping):
        return RowError(number, "", "is not an object", 'Write {"id": "…", …}.')
    given: dict[str, object] = {
        str(FILE_FIELD_NAMES.get(name, name)): value for name, value in item.items() if name not in API_FIELD_NAMES
    }
    if wrong := next((name for name in item if name in API_FIELD_NAMES), None):
        return RowError(number, wrong, "is not a field", f"Write {API_FIELD_NAMES[wrong]}.")
    said = layout.parse(given, number)
    return with_api_names(said) if isinstance(said, RowError) else said


def write_with_retry(kind: str, rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    """Write the rows; if somebody made one of them in the same moment, once more."""
    for is_last in (False, True):
        try:
            with transaction.atomic():
                return write_rows(kind, [(number, dict(said)) for number, said in rows], now)
        except IntegrityError:
            if is_last:
                raise
    raise AssertionError


def written_status(written: WriteResult, id: str) -> Literal["created", "updated", "unchanged"]:
    """Return what became of an item that was written."""
    if id in written.created_ids:
        return "created"
    return "updated" if id in written.updated_ids else "unchanged"


def with_api_names(error: RowError) -> RowError:
    """Return the error with the API's names for what a file calls otherwise."""
    advice = error.advice
    for theirs, ours in API_FIELD_NAMES.items():
        advice = advice.replace(theirs, ours)
    return RowError(error.line, API_FIELD_NAMES.get(error.field, error.field), error.problem, advice)


def build_rejection(item: object, error: RowError) -> IngestResult:
    """Return why an item was left out."""
    id = item.get("id") if isinstance(item, Mapping) else None
    problem = f"{error.field} {error.problem}. {error.advice}".strip()
    return IngestResult(id if isinstance(id, str) else None, "refused", problem, error.field)
