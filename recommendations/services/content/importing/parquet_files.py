"""
Import of Parquet files: their rows are written as JSON lines, which the importer reads.

A row of the Parquet file has the line of its number. The same file always gives the same lines, so a killed import
resumes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from recommendations.services.content.importing.problems import ImportFileError

try:
    from pyarrow import ArrowException, parquet
except ImportError:  # pyarrow is optional
    parquet = None

PARQUET = ".parquet"
BATCH_ROWS = 2_000


@contextmanager
def converted_to_json_lines(path: Path) -> Iterator[Path]:
    """
    Yield a file of JSON lines with the rows of the Parquet file *path*, in the same folder. It is deleted afterwards.

    Raises `ImportFileError` if the file cannot be read or has values that JSON cannot represent.
    """
    if parquet is None:
        raise ImportFileError(f"{path.name}: Parquet needs pyarrow. Run pip install pyarrow, or give CSV or JSONL.")
    converted = path.with_suffix(f"{path.suffix}.jsonl")
    try:
        write_json_lines(path, converted)
        yield converted
    finally:
        converted.unlink(missing_ok=True)


def write_json_lines(path: Path, converted: Path) -> None:
    """Write the rows of *path* to *converted*. Raises `ImportFileError`."""
    try:
        with parquet.ParquetFile(path) as file, converted.open("w", encoding="utf-8") as lines:
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    lines.write(json.dumps(row, default=json_value, ensure_ascii=False) + "\n")
    except (ArrowException, OSError, TypeError, ValueError) as error:
        raise ImportFileError(f"{path.name}: cannot be read as Parquet ({error}).") from error


def json_value(value: object) -> str | float:
    """Return a value of Parquet that JSON does not have: a time as ISO 8601, a decimal as a number."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"a value is {type(value).__name__}; store ids and texts as strings")
