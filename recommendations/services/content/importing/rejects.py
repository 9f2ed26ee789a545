"""The errors file of an import: it lists the rejected rows in the format of the imported file."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import BinaryIO

from monitoring.csv_lines import csv_line
from recommendations.services.content.importing.problems import ImportFileError, RowError

COLUMNS = [f.name for f in fields(RowError)]


class RejectsFile:
    """
    Appends row errors. The file is truncated to its size at the checkpoint, so a resumed import repeats none.

    It is created for the first error: a file without bad rows can be imported from a folder that cannot be written.
    """

    def __init__(self, path: Path, format_name: str, size: int) -> None:
        """Truncate *path*, if it exists, to *size* bytes. Raises `ImportFileError` if it cannot be written."""
        self.path, self._format_name = path, format_name
        self._file: BinaryIO | None = self._open() if path.exists() else None
        self.truncate(size)

    def _open(self) -> BinaryIO:
        """Create the file if it does not exist, and open it."""
        try:
            self.path.touch()
            return self.path.open("r+b")
        except OSError as error:
            raise ImportFileError(
                f"{self.path}: the rejected rows cannot be written there ({error.strerror}). "
                "Name another file with --errors PATH."
            ) from error

    def truncate(self, size: int) -> None:
        """Cut the file to *size* bytes."""
        if self._file is not None:
            self._file.truncate(size)
            self._file.seek(0, io.SEEK_END)

    def append(self, errors: Sequence[RowError]) -> int:
        """Write *errors* and return the size of the file in bytes."""
        if self._file is None and not errors:
            return 0
        self._file = self._file or self._open()
        for error in errors:
            if self._format_name == "csv" and self._file.tell() == 0:
                self._file.write(csv_line(COLUMNS).encode())
            row = asdict(error)
            line = (
                json.dumps(row, ensure_ascii=False) + "\n" if self._format_name == "jsonl" else csv_line(row.values())
            )
            self._file.write(line.encode("utf-8", "replace"))
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        if self._file is None:
            return
        is_empty = self._file.tell() == 0
        self._file.close()
        if is_empty:
            self.path.unlink()
