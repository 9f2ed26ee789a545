"""
Read the rows of a CSV or JSONL file one at a time in constant memory, each with the byte offset of the next row.

A broken row affects no other row: reading continues at the next line of the file.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recommendations.services.content.importing.fields import FileLayout
from recommendations.services.content.importing.problems import ImportFileError, RowError
from values.json_text import parse_json
from values.names import describe_unknown_name
from values.problems import quote_value

MAX_LINE_BYTES = 8 * 2**20
"""Maximum length of a line; a longer line is a row error. A megabyte of text escaped as JSON fits."""
SEPARATORS = (",", ";", "\t")
FILE_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its values, or the error that prevents reading them."""

    line: int
    end: int
    """The byte offset after the row, where a resumed import continues."""
    next_line: int
    values: dict[str, object] | None
    error: RowError | None = None


class LineReader:
    """Reads a binary file's lines as text and tracks the position. Bytes that are not UTF-8 become lone surrogates."""

    def __init__(self, file: BinaryIO, offset: int = 0, line: int = 1) -> None:
        self._file = file
        self.seek(offset, line)

    def seek(self, offset: int, line: int) -> None:
        """Continue reading at byte *offset*, the start of line *line*."""
        self._file.seek(offset)
        self.offset, self.line = offset, line
        self.start_row()

    def start_row(self) -> None:
        """Mark the current position as the start of a row."""
        self.row_line, self.is_truncated = self.line, False
        self.after_first_line: tuple[int, int] | None = None

    def __iter__(self) -> "LineReader":
        return self

    def __next__(self) -> str:
        raw = self._file.readline(MAX_LINE_BYTES)
        if not raw:
            raise StopIteration
        size = len(raw)
        while size >= MAX_LINE_BYTES and not raw.endswith(b"\n") and (rest := self._file.readline(MAX_LINE_BYTES)):
            self.is_truncated, size, raw = True, size + len(rest), rest
        is_file_start = self.offset == 0
        self.offset += size
        self.line += 1
        if self.after_first_line is None:
            self.after_first_line = self.offset, self.line
        if self.is_truncated:
            return "\n"
        return raw.removeprefix(b"\xef\xbb\xbf" if is_file_start else b"").decode("utf-8", "surrogateescape")


def file_format(path: Path) -> str:
    """Return `csv` or `jsonl`, by the file's name. Raises `ImportFileError` for another name."""
    if path.suffix.lower() not in FILE_FORMATS:
        raise ImportFileError(f"{path.name}: the name of the file must end in {', '.join(FILE_FORMATS)}.")
    return FILE_FORMATS[path.suffix.lower()]


def open_import_file(path: Path) -> BinaryIO:
    """Open *path* for reading. Raises `ImportFileError` if it is missing, a folder, or UTF-16."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportFileError(f"{path.name}: cannot be read ({error.strerror}).") from error
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
        file.close()
        raise ImportFileError(f"{path.name}: the file is UTF-16. Save it as UTF-8 and import it again.")
    file.seek(0)
    return file


def read_rows(file: BinaryIO, format_name: str, layout: FileLayout, position: tuple[int, int]) -> Iterator[Row]:
    """
    Yield the rows from *position* (byte offset, line) on. (0, 1) is the start of the file.

    Raises `ImportFileError` if a CSV header lacks a required column or has an unknown one.
    """
    if format_name == "jsonl":
        yield from read_jsonl(LineReader(file, *position))
        return
    lines = LineReader(file)
    separator, header = read_header(lines, layout)
    if position != (0, 1):
        lines.seek(*position)
    yield from read_csv(lines, separator, header, layout)


# --- JSONL


def read_jsonl(lines: LineReader) -> Iterator[Row]:
    for text in lines:
        line, is_truncated = lines.row_line, lines.is_truncated
        if is_truncated or text.strip():
            values, error = (None, line_too_long_error(line)) if is_truncated else parse_json_object(text, line)
            yield Row(line, lines.offset, lines.line, values, error)
        lines.start_row()


def parse_json_object(text: str, line: int) -> tuple[dict[str, object] | None, RowError | None]:
    """Return the JSON object in *text*, or the error."""
    if not is_utf8(text):
        return None, not_utf8_error(line)
    try:
        values = parse_json(text)
    except (ValueError, RecursionError) as error:
        advice = "Write one complete JSON object per line."
        return None, RowError(line, "", f"is not JSON: {str(error) or 'nested too deeply'}", advice)
    if not isinstance(values, dict):
        return None, RowError(
            line, "", f"is not an object: {quote_value(values)}", 'Write {"field": value, …} on each line.'
        )
    return values, None


# --- CSV


def read_header(lines: LineReader, layout: FileLayout) -> tuple[str, list[str]]:
    """
    Return the separator of the file and the column names in its first row.

    The separator is the comma, semicolon or tab that splits the first row into the most columns of the layout. Raises
    `ImportFileError` if the columns are not usable.
    """
    text, headers, errors = next(lines, ""), {}, []
    for mark in SEPARATORS:
        try:
            cells = next(csv.reader([text], strict=True, delimiter=mark), [])
            headers[mark] = [name.strip().lower() for name in cells]
        except csv.Error as error:  # quoted names that another character separates
            errors.append(error)
    if not headers:
        raise ImportFileError(f"The first line is not a CSV header: {errors[0]}.") from errors[0]
    separator = max(headers, key=lambda mark: len(set(headers[mark]) & set(layout.types)))
    header = headers[separator]
    if not header:
        raise ImportFileError("The file is empty. Its first line must name the columns.")
    missing = [name for name in layout.required if name not in header]
    unknown = [name for name in header if name not in layout.types]
    repeated = sorted({name for name in header if header.count(name) > 1})
    problems = {"missing": missing, "unknown": unknown, "repeated": repeated}
    described = [f"{problem}: {', '.join(map(quote_value, names))}" for problem, names in problems.items() if names]
    if described:
        advice = str(describe_unknown_name(unknown[0], layout.types)[1]) if unknown else ""
        raise ImportFileError(
            f"The first line has wrong column names ({'; '.join(described)}). {advice} "
            f"Separate them by commas, semicolons or tabs; {', '.join(layout.required)} are required."
        )
    return separator, header


def read_csv(lines: LineReader, separator: str, header: list[str], layout: FileLayout) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(lines, strict=True, delimiter=separator)
    while True:
        lines.start_row()
        line = lines.row_line
        try:
            cells = next(reader)
            problem = check_cells(cells, header, lines)
        except StopIteration:
            return
        except csv.Error as error:
            cells, advice = [], 'Check the quotes; write " within quotes as "".'
            problem = RowError(line, "", f"is not CSV: {error}", advice)
        if problem and lines.after_first_line:
            # An unmatched quote may have joined good rows to this one: read again from the line after its first line.
            lines.seek(*lines.after_first_line)
            reader = csv.reader(lines, strict=True, delimiter=separator)
        if problem:
            yield Row(line, lines.offset, lines.line, None, problem)
        elif cells:
            values = layout.read_cells(dict(zip(header, cells, strict=True)))
            yield Row(line, lines.offset, lines.line, values)


def check_cells(cells: list[str], header: list[str], lines: LineReader) -> RowError | None:
    """Return the error of the row as a whole, or None. An empty row has no error."""
    if lines.is_truncated:
        return line_too_long_error(lines.row_line)
    if cells and len(cells) != len(header):
        problem = f"has {len(cells)} cells where the header has {len(header)}"
        return RowError(lines.row_line, "", problem, "Put texts with commas or line breaks in quotes.")
    return None if is_utf8("".join(cells)) else not_utf8_error(lines.row_line)


# --- errors of both formats


def is_utf8(text: str) -> bool:
    """Return whether all of *text* was UTF-8: `LineReader` decodes other bytes to lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_utf8_error(line: int) -> RowError:
    return RowError(line, "", "is not UTF-8", "Save the file as UTF-8.")


def line_too_long_error(line: int) -> RowError:
    problem = f"is longer than {MAX_LINE_BYTES:,} bytes"
    return RowError(line, "", problem, "Shorten the text, or add a missing line break.")
