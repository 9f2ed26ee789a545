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
from tempfile import TemporaryDirectory
from typing import Any

from recommendations.services.content.importing.problems import ImportFileError

try:
    from pyarrow import ArrowException, compute, parquet, timestamp, types
except ImportError:  # pyarrow is optional
    parquet = None

PARQUET = ".parquet"
BATCH_ROWS = 2_000
UNREADABLE = (LookupError, OverflowError, ValueError)
"""The errors of pyarrow for a value: a name twice in a map, a year that Python does not have, an unknown time zone."""


@contextmanager
def converted_to_json_lines(path: Path) -> Iterator[Path]:
    """
    Yield a file of JSON lines with the rows of the Parquet file *path*. It is in a temporary folder.

    Raises `ImportFileError` if the file cannot be read or has values that JSON cannot represent.
    """
    if parquet is None:
        raise ImportFileError(f"{path.name}: Parquet needs pyarrow. Run pip install pyarrow, or give CSV or JSONL.")
    with TemporaryDirectory() as folder:
        converted = Path(folder, f"{path.name}.jsonl")
        write_json_lines(path, converted)
        yield converted


def write_json_lines(path: Path, converted: Path) -> None:
    """Write the rows of *path* to *converted*. Raises `ImportFileError`."""
    try:
        with parquet.ParquetFile(path) as file, converted.open("w", encoding="utf-8") as lines:
            names = file.schema_arrow.names
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise ImportFileError(f"{path.name}: the columns {', '.join(repeated)} are repeated.")
            for batch in file.iter_batches(BATCH_ROWS):
                for values in zip(*map(read_column, batch.columns), strict=True):
                    row = dict(zip(names, values, strict=True))
                    lines.write(json.dumps(row, default=json_value, ensure_ascii=False) + "\n")
    except (ArrowException, OSError, TypeError) as error:
        raise ImportFileError(f"{path.name}: cannot be read as Parquet ({error}).") from error


def read_column(column: Any) -> list[Any]:
    """Return the values of a column. A time with a zone is in UTC. Nanoseconds are cut to microseconds."""
    if types.is_timestamp(column.type):
        unit = "us" if column.type.unit == "ns" else column.type.unit
        column = compute.cast(column, timestamp(unit, column.type.tz and "UTC"), safe=False)
    try:
        return list(column.to_pylist(maps_as_pydicts="strict"))
    except UNREADABLE:
        return [read_value(value) for value in column]


def read_value(value: Any) -> Any:
    """Return one value of a column. What Python cannot represent is a text, which the type of the field refuses."""
    try:
        return value.as_py(maps_as_pydicts="strict")
    except UNREADABLE:
        return f"unreadable {value.type}"


def json_value(value: object) -> str | float:
    """Return a value of Parquet that JSON does not have: a time as ISO 8601, a decimal as a number."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"a value is {type(value).__name__}; store ids and texts as strings")
