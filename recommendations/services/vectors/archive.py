"""
Archive of the vectors of retired embedding models: moves them from the database to files after EMBEDDINGS_ARCHIVE_DAYS.

A model that is activated again later embeds its posts again. Without EMBEDDINGS_ARCHIVE_DIR nothing is archived.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db.models import QuerySet

from monitoring.maintenance import MaintenanceResult
from recommendations.models import EmbeddingModel, PostEmbedding
from recommendations.services import wiring

BATCH_VECTORS = 20_000
"""Vectors per file. Changes the speed."""


class ArchiveError(RuntimeError):
    """A file differs from the data written to it. The rows stay in the database."""


def archive_embeddings(*, now: datetime) -> MaintenanceResult:
    """Archive the vectors of every model that was retired long enough ago."""
    old = EmbeddingModel.objects.filter(
        state=EmbeddingModel.State.RETIRED,
        changed_at__lt=now - timedelta(days=settings.ENV.embeddings_archive_days),
    )
    with_vectors = [row for row in old if stored_vectors(row).exists()]
    if not with_vectors:
        return MaintenanceResult(note="no retired model has vectors to archive")
    if not settings.ENV.embeddings_archive_dir:
        names = ", ".join(row.name for row in with_vectors)
        return MaintenanceResult(note=f"not archived, because EMBEDDINGS_ARCHIVE_DIR is not set: {names}")
    folder = Path(settings.ENV.embeddings_archive_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = [archive_model_vectors(row, folder, now) for row in with_vectors]
    return MaintenanceResult(
        sum(result.rows for result in results),
        sum(result.bytes for result in results),
        "; ".join(result.note for result in results),
    )


def archive_model_vectors(row: EmbeddingModel, folder: Path, now: datetime) -> MaintenanceResult:
    """Write the vectors of one embedding model to files and delete them. Each file is verified before the deletion."""
    rows = size = number = 0
    name = f"{row.space}-{re.sub(r'[^A-Za-z0-9]+', '-', row.name)}-{now:%Y%m%d%H%M%S}"
    while batch := list(
        stored_vectors(row).order_by("pk").values_list("pk", "post__external_id", "vector", "version")[:BATCH_VECTORS]
    ):
        path = folder / f"{name}-{number:04}.npz"
        write_archive(path, row.name, batch)
        PostEmbedding.objects.filter(pk__in=[pk for pk, *_ in batch]).delete()
        rows, size, number = rows + len(batch), size + path.stat().st_size, number + 1
    if index := wiring.vector_index_of(row.space, row.name, row.dimension):
        index.delete_collection()
    return MaintenanceResult(rows, size, f"{row.name}: {number} files")


def write_archive(path: Path, model: str, batch: list[tuple[int, str, bytes | memoryview, int]]) -> None:
    """Write a batch to *path* atomically. Raises `ArchiveError` if the file read back differs from the batch."""
    columns = {
        "model": np.array(model),
        "post_ids": np.array([post_id for _, post_id, _, _ in batch]),
        "versions": np.array([version for *_, version in batch], np.int64),
        "vectors": np.stack([np.frombuffer(bytes(vector), "<f4") for _, _, vector, _ in batch]),
    }
    write_columns(path, columns)


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write *columns* to *path* atomically. Raises `ArchiveError` if the file read back differs from them."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
        file.flush()
        os.fsync(file.fileno())
    with np.load(partial, allow_pickle=False) as stored:
        if any(not np.array_equal(stored[name], column) for name, column in columns.items()):
            raise ArchiveError(f"{partial} differs from the data that was written to it.")
    partial.rename(path)


def erase_from_archive(external_ids: Collection[str]) -> int:
    """Rewrite the files of the archive without these posts. Return how many vectors were deleted."""
    deleted = 0
    for path in list_archive_files():
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        is_erased = np.isin(columns["post_ids"], list(external_ids))
        if is_erased.all():
            path.unlink()
        elif is_erased.any():
            rows = {name: columns[name][~is_erased] for name in ("post_ids", "versions", "vectors")}
            write_columns(path, {"model": columns["model"], **rows})
        deleted += int(np.count_nonzero(is_erased))
    return deleted


def list_archive_files() -> list[Path]:
    """Return the files of the archive; none without EMBEDDINGS_ARCHIVE_DIR."""
    folder = settings.ENV.embeddings_archive_dir
    return sorted(Path(folder).glob("*.npz")) if folder else []


def stored_vectors(row: EmbeddingModel) -> QuerySet[PostEmbedding]:
    """Return the stored vectors of an embedding model."""
    return PostEmbedding.objects.filter(space=row.space, embedding_model=row.name)
