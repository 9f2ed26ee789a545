"""
Import members, posts, interactions or relationships from a CSV, JSONL or Parquet file.

A bad row is rejected and listed in an errors file next to the imported file. A killed import resumes from its
checkpoint. A repeated import adds nothing. A file whose earlier import rejected rows is imported from the start again,
because the members or posts that those rows refer to may exist now.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from django.db import transaction

from monitoring.transactions import write_transaction
from recommendations.models import ImportCheckpoint
from recommendations.services.content.importing.fields import FileLayout, file_layouts
from recommendations.services.content.importing.parquet_files import PARQUET, converted_to_json_lines
from recommendations.services.content.importing.problems import ImportFileError, RowError
from recommendations.services.content.importing.rejects import RejectsFile
from recommendations.services.content.importing.rows import Row, file_format, open_import_file, read_rows
from recommendations.services.content.importing.write_rows import TABLES, WriteResult, write_rows
from recommendations.stores.bulk import refresh_statistics

CHUNK_ROWS = 2_000
"""Rows per transaction. Changes the speed, and how many rows a resumed import repeats."""

Progress = Callable[[int, int], None]
"""Called with the bytes processed and the total bytes."""


@dataclass(frozen=True)
class ImportSummary:
    """The results of an import."""

    created: int
    updated: int
    unchanged: int
    rejected: int
    errors_path: Path | None
    """The file that lists the rejected rows; None without rejected rows."""
    resumed_at_line: int
    """The line at which a killed import resumed; 1 otherwise."""
    is_already_imported: bool
    """Whether an earlier run had already imported a file with the same content, so that nothing was done."""


def import_file(
    *,
    kind: str,
    path: Path,
    now: datetime,
    errors_path: Path | None = None,
    restart: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> ImportSummary:
    """
    Import the file at *path*, which holds rows of *kind*. Raises `ImportFileError` if it cannot be imported.

    *errors_path* is the file for the rejected rows; None: a file next to *path*. *restart* ignores the checkpoint of an
    earlier run. *dry_run* validates every row and writes nothing but the errors file.
    """
    if path.suffix.lower() == PARQUET:
        errors_path = errors_path or default_errors_path(path.with_suffix(f"{PARQUET}.jsonl"))
        with converted_to_json_lines(path) as lines:
            return import_file(
                kind=kind,
                path=lines,
                now=now,
                errors_path=errors_path,
                restart=restart,
                dry_run=dry_run,
                progress=progress,
            )
    format_name = file_format(path)
    if errors_path is not None and errors_path.resolve() == path.resolve():
        raise ImportFileError(
            f"{path}: the rejected rows would replace the file. Name another file with --errors PATH."
        )
    with open_import_file(path) as file:
        checkpoint = find_checkpoint(kind, file_sha256(path), now, restart)
        if checkpoint.finished_at and not dry_run:
            return build_summary(checkpoint, None, resumed_at_line=1, is_already_imported=True)
        if dry_run:
            checkpoint = ImportCheckpoint(kind=kind, started_at=now)
        layout = file_layouts(now.year)[kind]
        position = (checkpoint.offset, checkpoint.line)
        rows = read_rows(file, format_name, layout, position)
        rejects = RejectsFile(errors_path or default_errors_path(path), format_name, checkpoint.errors_size)
        try:
            checkpoint = import_rows(checkpoint, layout, rows, rejects, now, dry_run, progress, path.stat().st_size)
        finally:
            rejects.close()
    return build_summary(checkpoint, rejects.path, resumed_at_line=position[1], is_already_imported=False)


def find_checkpoint(kind: str, sha256: str, now: datetime, restart: bool) -> ImportCheckpoint:
    """Return the checkpoint of an earlier run, or a new one if there is none or the file must be imported again."""
    earlier = ImportCheckpoint.objects.filter(kind=kind, sha256=sha256).first()
    new = ImportCheckpoint(kind=kind, sha256=sha256, started_at=now)
    if earlier is None:
        return new
    if restart or (earlier.finished_at and earlier.rejected):
        new.pk = earlier.pk
        return new
    return earlier


def import_rows(
    checkpoint: ImportCheckpoint, layout: FileLayout, rows: Iterator[Row], rejects: RejectsFile,
    now: datetime, dry_run: bool, progress: Progress, size: int,
) -> ImportCheckpoint:  # fmt: skip
    """Write *rows* in chunks, each in one transaction with its checkpoint. Return the last checkpoint."""
    while chunk := list(islice(rows, CHUNK_ROWS)):
        checkpoint = import_chunk(checkpoint, layout, chunk, rejects, now, dry_run)
        progress(checkpoint.offset, size)
    checkpoint.finished_at = now
    if not dry_run:
        refresh_statistics(*TABLES[checkpoint.kind])
        save_checkpoint(checkpoint)
    return checkpoint


@write_transaction
def import_chunk(
    checkpoint: ImportCheckpoint, layout: FileLayout, chunk: Sequence[Row], rejects: RejectsFile,
    now: datetime, dry_run: bool,
) -> ImportCheckpoint:  # fmt: skip
    """Write a chunk that begins at *checkpoint*. Return the checkpoint behind it."""
    result = write_chunk(checkpoint.kind, layout, chunk, now)
    rejects.truncate(checkpoint.errors_size)  # the transaction may be run again
    advanced = advance_checkpoint(checkpoint, chunk[-1], result, rejects.append(result.errors))
    save_checkpoint(advanced) if not dry_run else transaction.set_rollback(True)
    return advanced


def save_checkpoint(checkpoint: ImportCheckpoint) -> None:
    """Insert or update the checkpoint. Only the run of its import writes it."""
    columns = [field.name for field in ImportCheckpoint._meta.concrete_fields if not field.primary_key]
    checkpoint.save(update_fields=columns) if checkpoint.pk else checkpoint.save(force_insert=True)


def write_chunk(kind: str, layout: FileLayout, chunk: Sequence[Row], now: datetime) -> WriteResult:
    """Parse and write a chunk. Its errors are in the order of the file."""
    errors: list[RowError] = []
    parsed = []
    for row in chunk:
        fields = row.error or layout.parse(row.values or {}, row.line, now)
        if isinstance(fields, RowError):
            errors.append(fields)
        else:
            parsed.append((row.line, fields))
    result = write_rows(kind, parsed, now) if parsed else WriteResult()
    result.errors = sorted(errors + result.errors, key=lambda error: error.line)
    return result


def advance_checkpoint(
    checkpoint: ImportCheckpoint, last_row: Row, result: WriteResult, errors_size: int
) -> ImportCheckpoint:
    """Return the checkpoint behind *last_row*."""
    checkpoint = copy(checkpoint)
    checkpoint.offset, checkpoint.line, checkpoint.errors_size = last_row.end, last_row.next_line, errors_size
    checkpoint.created += result.created
    checkpoint.updated += result.updated
    checkpoint.unchanged += result.unchanged
    checkpoint.rejected += len(result.errors)
    return checkpoint


def default_errors_path(path: Path) -> Path:
    """Return the path of the errors file of *path*: ratings.csv → ratings.errors.csv."""
    return path.with_name(f"{path.stem}.errors{path.suffix}")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_summary(
    checkpoint: ImportCheckpoint, rejects_path: Path | None, *, resumed_at_line: int, is_already_imported: bool
) -> ImportSummary:
    return ImportSummary(
        created=checkpoint.created,
        updated=checkpoint.updated,
        unchanged=checkpoint.unchanged,
        rejected=checkpoint.rejected,
        errors_path=rejects_path if checkpoint.rejected else None,
        resumed_at_line=resumed_at_line,
        is_already_imported=is_already_imported,
    )
