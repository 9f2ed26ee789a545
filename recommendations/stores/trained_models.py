"""
A process's copy of the active trained models, whose arrays the processes of a machine share in memory.

The database is the source of a model's arrays. The first process of a machine that needs them writes each array to a
file in `MODEL_DIR`, and every process maps the file into memory, so that the pages exist once per machine. A file is
named after the digest of its content and replaces its place in one step. Its content is verified before it is mapped: a
file that a crash left incomplete is written again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any

import numpy as np
from django.db import DatabaseError, connections
from numpy.typing import NDArray

from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.models import TrainedModel, TrainedModelBlock

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""A process uses a new active model after about this time. Changes the answer for that long."""
BLOCK_BYTES = 4 * 2**20
"""Size of a row of `TrainedModelBlock`. Changes the speed."""
CLEAN_SECONDS = 600.0
"""How often a process deletes files of models whose arrays were deleted from the database."""
KEPT_RETIRED = 2
"""Retired models of a kind whose arrays are kept, so that a rollback is quick."""

ARRAY_NAMES = tuple(field.name for field in fields(ItemWeightTable))


@dataclass(frozen=True, slots=True)
class ActiveItemWeights:
    """The active model of item weights. A service reads it once per call, so that no request mixes two models."""

    model_id: int
    table: ItemWeightTable
    scales: Mapping[str, float]
    """By score part: the typical score of a post on a first page."""


class ModelArrayError(Exception):
    """The arrays of a model are missing or damaged in the database."""


# In the database


def store_arrays(model_id: int, arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """
    Write arrays in blocks, replacing those of an earlier attempt. Return their sizes and digests, by name.

    Each block is a statement of its own: one transaction for a large model would make other writers wait.
    """
    TrainedModelBlock.objects.filter(model_id=model_id).delete()
    described = {}
    for name, array in arrays.items():
        buffer = BytesIO()
        np.save(buffer, array)
        content = buffer.getbuffer()
        for position, start in enumerate(range(0, len(content), BLOCK_BYTES)):
            data = bytes(content[start : start + BLOCK_BYTES])
            TrainedModelBlock.objects.create(model_id=model_id, name=name, position=position, data=data)
        described[name] = {"size": len(content), "digest": blake2b(content, digest_size=16).hexdigest()}
    return described


def read_content(model_id: int, name: str, write: Callable[[bytes], object]) -> None:
    """Pass the content of an array's file to *write*, block by block."""
    blocks = TrainedModelBlock.objects.filter(model_id=model_id, name=name).order_by("position")
    for data in blocks.values_list("data", flat=True).iterator(chunk_size=1):
        write(bytes(data))


def read_item_weights(model_id: int) -> ItemWeightTable:
    """Return the table of a model from the database. Raises `ModelArrayError` if an array has been deleted."""
    arrays = {}
    for name in ARRAY_NAMES:
        buffer = BytesIO()
        read_content(model_id, name, buffer.write)
        if not buffer.tell():
            raise ModelArrayError(f"Array {name} of model {model_id} is not in the database.")
        buffer.seek(0)
        arrays[name] = np.load(buffer)
    return ItemWeightTable(**arrays)


# In files


class ModelFiles:
    """The folder with the arrays of trained models. Several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open_item_weights(self, model: TrainedModel) -> ItemWeightTable:
        """Return the table of *model*, mapped from files that are written if needed."""
        return ItemWeightTable(**{name: self.open_array(model.pk, name, **model.arrays[name]) for name in ARRAY_NAMES})

    def open_array(self, model_id: int, name: str, size: int, digest: str) -> NDArray[Any]:
        """Return an array, mapped from its file. Raises `OSError`, `DatabaseError` or `ModelArrayError`."""
        path = self.folder / f"{digest}.npy"
        if not is_content_of(path, size, digest):
            self.write_file(path, model_id, name)
            if not is_content_of(path, size, digest):
                raise ModelArrayError(f"Array {name} of model {model_id} is damaged or missing in the database.")
        mapped = np.load(path, mmap_mode="r")
        return mapped.view(np.ndarray)  # np.memmap has slow methods of its own

    def write_file(self, path: Path, model_id: int, name: str) -> None:
        """Write an array's file. Another process may write the same: the last one to finish replaces it, equal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self.folder, prefix=f"{path.stem}.", suffix=".part", delete=False) as file:
            try:
                read_content(model_id, name, file.write)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def delete_old(self) -> None:
        """
        Delete the files of models that are neither active nor among the last retired, or that an erasure deleted.

        The folder is listed before the database is read. A process writes the files of a model only after the model
        was activated, so each listed file of an active model is known to the query.
        """
        listed = list(self.folder.iterdir()) if self.folder.exists() else []
        kept = {array["digest"] for model in models_with_files() for array in model.arrays.values()}
        for path in listed:
            if path.name.split(".")[0] not in kept:
                with suppress(FileNotFoundError):  # another process deletes the same files
                    path.unlink()


def models_with_files() -> list[TrainedModel]:
    """Return the models whose files are kept: of each kind the active one and the last retired, with their arrays."""
    models = list(TrainedModel.objects.filter(state=TrainedModel.State.ACTIVE))
    for kind in TrainedModel.Kind.values:
        models += find_last_retired(kind)
    blocks = TrainedModelBlock.objects.filter(model__in=models).order_by()
    stored = set(blocks.values_list("model_id", flat=True).distinct())
    return [model for model in models if model.pk in stored]


def find_last_retired(kind: str) -> list[TrainedModel]:
    """Return the `KEPT_RETIRED` models of *kind* that were retired last."""
    retired = TrainedModel.objects.filter(kind=kind, state=TrainedModel.State.RETIRED)
    return list(retired.order_by("-retired_at", "-pk")[:KEPT_RETIRED])


def is_content_of(path: Path, size: int, digest: str) -> bool:
    """Return whether the file *path* exists, with this size and BLAKE2b digest."""
    try:
        if path.stat().st_size != size:
            return False
        found = blake2b(digest_size=16)
        with path.open("rb") as file:
            while part := file.read(BLOCK_BYTES):
                found.update(part)
        return found.hexdigest() == digest
    except FileNotFoundError:
        return False


# In memory


class TrainedModels:
    """
    The active models, as this process read them last. Thread-safe.

    The first call loads a model. After that, a thread of its own checks for another model and loads it, so that no
    request waits for it. If the database or the folder fails, the loaded model stays in use.
    """

    def __init__(self, folder: Path) -> None:
        self._files = ModelFiles(folder)
        self._active: ActiveItemWeights | None = None
        self._checked_at: float | None = None
        self._cleaned_at = monotonic()
        self._lock = threading.Lock()

    def item_weights(self) -> ActiveItemWeights | None:
        """Return the active model of item weights, or None if there is none."""
        if self._checked_at is None:
            with self._lock:  # calls that arrive during the first load wait for it
                if self._checked_at is None:
                    self._check()
        elif monotonic() - self._checked_at >= CHECK_SECONDS and self._lock.acquire(blocking=False):
            self._checked_at = monotonic()
            threading.Thread(target=self._check_in_background, name="trained-models", daemon=True).start()
        return self._active

    def refresh(self) -> None:
        """Load the active model now, if it is another one. For tests and tasks that must see it at once."""
        with self._lock:
            self._check()

    def _check_in_background(self) -> None:
        """Check, with a database connection of this thread, and release the lock that the caller acquired."""
        try:
            self._check()
        finally:
            connections.close_all()
            self._lock.release()

    def _check(self) -> None:
        """Load the active model if it is another one. Keep the loaded one after a failure, and log it."""
        try:
            self._load()
        except (DatabaseError, OSError, ModelArrayError, KeyError, ValueError):
            log.exception("trained_model_not_loaded")
        finally:
            self._checked_at = monotonic()

    def _load(self) -> None:
        loaded = self._active.model_id if self._active else None
        kind, state = TrainedModel.Kind.ITEM_WEIGHTS, TrainedModel.State.ACTIVE
        model = TrainedModel.objects.filter(kind=kind, state=state).first()
        if model is None:
            self._active = None
        elif model.pk != loaded:
            self._active = ActiveItemWeights(model.pk, self._files.open_item_weights(model), model.scales)
            log.info("trained_model_loaded", extra={"kind": kind.value, "trained_model": model.pk})
            self.delete_old_files()
        if monotonic() - self._cleaned_at >= CLEAN_SECONDS:
            self.delete_old_files()

    def delete_old_files(self) -> None:
        """Delete the files of this machine that no model needs any more."""
        self._cleaned_at = monotonic()
        self._files.delete_old()
