"""
Vectors of models that no longer serve go from the database to files, once nobody is likely to want the model back.

A model that comes back after that embeds its posts again. Without EMBEDDINGS_ARCHIVE_DIR nothing is taken away.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db.models import QuerySet

from monitoring.maintenance import MaintenanceResult
from recommendations.models import EmbeddingModel, PostEmbedding
from recommendations.services import wiring

BATCH_VECTORS = 20_000
"""Vectors a file. Changes the speed."""


class ArchiveError(RuntimeError):
    """A file does not hold what was written to it; its rows stay in the database."""


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
        return MaintenanceResult(note=f"kept in the database, as EMBEDDINGS_ARCHIVE_DIR is not set: {names}")
    folder = Path(settings.ENV.embeddings_archive_dir)
    folder.mkdir(parents=True, exist_ok=True)
    done = [archive_model_vectors(row, folder, now) for row in with_vectors]
    return MaintenanceResult(
        sum(did.rows for did in done), sum(did.bytes for did in done), "; ".join(did.note for did in done)
    )


def archive_model_vectors(row: EmbeddingModel, folder: Path, now: datetime) -> MaintenanceResult:
    """Write one model's vectors to files and delete them; what is written is read back first."""
    rows = size = number = 0
    name = f"{row.space}-{re.sub(r'[^A-Za-z0-9]+', '-', row.name)}-{now:%Y%m%d%H%M%S}"
    while batch := list(
        stored_vectors(row).order_by("pk").values_list("pk", "post__external_id", "vector", "version")[:BATCH_VECTORS]
    ):
        path = folder / f"{name}-{number:04}.npz"
        write_archive(path, row.name, batch)
        PostEmbedding.objects.filter(pk__in=[pk for pk, *_ in batch]).delete()
        rows, size, number = rows + len(batch), size + path.stat().st_size, number + 1
    if index := wiring.retired_vector_index(row.space, row.name, row.dimension):
        index.delete_collection()
    return MaintenanceResult(rows, size, f"{row.name}: {number} files")


def write_archive(path: Path, model: str, batch: list[tuple[int, str, bytes | memoryview, int]]) -> None:
    """Write a batch to *path*, all or nothing, and raise `ArchiveError` unless the file holds it."""
    columns = {
        "model": np.array(model),
        "post_ids": np.array([post_id for _, post_id, _, _ in batch]),
        "versions": np.array([version for *_, version in batch], np.int64),
        "vectors": np.stack([np.frombuffer(bytes(vector), "<f4") for _, _, vector, _ in batch]),
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
        file.flush()
        os.fsync(file.fileno())
    with np.load(part, allow_pickle=False) as back:
        if any(not np.array_equal(back[name], column) for name, column in columns.items()):
            raise ArchiveError(f"{part} does not hold what was written to it.")
    part.rename(path)


def stored_vectors(row: EmbeddingModel) -> QuerySet[PostEmbedding]:
    """Return a model's vectors."""
    return PostEmbedding.objects.filter(space=row.space, embedding_model=row.name)
