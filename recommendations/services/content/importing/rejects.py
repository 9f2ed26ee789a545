"""The errors file of an import: it lists the rejected rows in the format of the imported file."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from recommendations.services.content.importing.problems import RowError

COLUMNS = [f.name for f in fields(RowError)]


class RejectsFile:
    """Appends row errors. The file is truncated to its size at the checkpoint, so a resumed import repeats none."""

    def __init__(self, path: Path, format_name: str, size: int) -> None:
        """Open *path* and truncate it to *size* bytes."""
        self.path, self._format_name = path, format_name
        path.touch()
        self._file = path.open("r+b")
        self.truncate(size)

    def truncate(self, size: int) -> None:
        """Cut the file to *size* bytes."""
        self._file.truncate(size)
        self._file.seek(0, io.SEEK_END)

    def append(self, errors: Iterable[RowError]) -> int:
        """Write *errors* and return the size of the file in bytes."""
        for error in errors:
            if self._format_name == "csv" and self._file.tell() == 0:
                self._file.write(csv_line(COLUMNS))
            row = asdict(error)
            line = (
                json.dumps(row, ensure_ascii=False) + "\n" if self._format_name == "jsonl" else csv_line(row.values())
            )
            self._file.write(line.encode("utf-8", "replace") if isinstance(line, str) else line)
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        is_empty = self._file.tell() == 0
        self._file.close()
        if is_empty:
            self.path.unlink()


def csv_line(cells: Iterable[object]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(list(cells))
    return text.getvalue().encode("utf-8", "replace")
