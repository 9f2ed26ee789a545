"""
Import members, posts, interactions or follows from a CSV or JSONL file.

A bad row is listed in a file beside it and left out. An import that was killed goes on where it was; one that
is repeated adds nothing; one that left rows out is tried again from the start, since what they named may be
there now.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from django.db import transaction

from recommendations.models import ImportCheckpoint
from recommendations.services.content.importing.fields import FILE_KINDS, FileLayout, file_layouts
from recommendations.services.content.importing.problems import ImportFileError, RowError
from recommendations.services.content.importing.rejects import RejectsFile
from recommendations.services.content.importing.rows import Row, file_format, open_import_file, read_rows
from recommendations.services.content.importing.write_rows import TABLES, WriteResult, write_rows
from recommendations.stores.bulk import refresh_statistics

CHUNK_ROWS = 2_000
"""Rows a transaction. Changes the speed, and how much a killed import does again."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True)
class ImportSummary:
    """What an import did."""

    created: int
    updated: int
    unchanged: int
    rejected: int
    errors_path: Path | None
    """The file that lists the rejected rows, if there are any."""
    resumed_at_line: int
    """1 unless an earlier run was cut off."""
    is_already_imported: bool
    """An earlier run had imported all of this very file, so there was nothing to do."""


def import_file(
    *, kind: str, path: Path, now: datetime, restart: bool = False, dry_run: bool = False, progress: Progress
) -> ImportSummary:
    """
    Import *path*, which holds *kind*; raise `ImportFileError` if it cannot be imported at all.

    *again* starts from the top whatever was done before. *dry_run* checks every row and keeps nothing.
    """
    if kind not in FILE_KINDS:
        raise ImportFileError(f"{kind}: no such kind; there are {', '.join(FILE_KINDS)}.")
    form = file_format(path)
    with open_import_file(path) as file:
        checkpoint = find_checkpoint(kind, file_sha256(path), now, restart)
        if checkpoint.finished_at and not dry_run:
            return build_summary(checkpoint, None, resumed_at_line=1, is_already_imported=True)
        if dry_run:
            checkpoint = ImportCheckpoint(kind=kind, started_at=now)
        layout = file_layouts(now)[kind]
        at = (checkpoint.offset, checkpoint.line)
        rows = read_rows(file, form, list(layout.parsers), layout.required, at)
        rejects = RejectsFile(errors_path(path), form, checkpoint.errors_size)
        try:
            import_rows(checkpoint, layout, rows, rejects, now, dry_run, progress, path.stat().st_size)
        finally:
            rejects.close()
    return build_summary(checkpoint, rejects.path, resumed_at_line=at[1], is_already_imported=False)


def find_checkpoint(kind: str, sha256: str, now: datetime, restart: bool) -> ImportCheckpoint:
    """Return the checkpoint of an earlier run that was cut off or complete, else a new one."""
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
) -> None:  # fmt: skip
    """Write *rows* chunk by chunk, each with the checkpoint that says so."""
    while chunk := list(islice(rows, CHUNK_ROWS)):
        with transaction.atomic():
            written = write_chunk(checkpoint.kind, layout, chunk, now)
            advance_checkpoint(checkpoint, chunk[-1], written, rejects.append(written.errors))
            checkpoint.save() if not dry_run else transaction.set_rollback(True)
        progress(checkpoint.offset, size)
    checkpoint.finished_at = now
    if not dry_run:
        refresh_statistics(*TABLES[checkpoint.kind])
        checkpoint.save()


def write_chunk(kind: str, layout: FileLayout, chunk: Sequence[Row], now: datetime) -> WriteResult:
    """Parse and write a chunk; its errors come back in the order of the file."""
    errors: list[RowError] = []
    parsed = []
    for row in chunk:
        said = row.error or layout.parse(row.values or {}, row.line)
        if isinstance(said, RowError):
            errors.append(said)
        else:
            parsed.append((row.line, said))
    written = write_rows(kind, parsed, now) if parsed else WriteResult()
    written.errors = sorted(errors + written.errors, key=lambda error: error.line)
    return written


def advance_checkpoint(checkpoint: ImportCheckpoint, last: Row, written: WriteResult, errors_size: int) -> None:
    checkpoint.offset, checkpoint.line, checkpoint.errors_size = last.end, last.next_line, errors_size
    checkpoint.created += written.created
    checkpoint.updated += written.updated
    checkpoint.unchanged += written.unchanged
    checkpoint.rejected += len(written.errors)


def errors_path(path: Path) -> Path:
    """Return where the rows left out of *path* are listed: ratings.csv → ratings.errors.csv."""
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
