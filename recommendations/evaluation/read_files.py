"""
Readers of interactions in files: MovieLens folders, CSV, Parquet, and lists of posts by member.

A reader checks every value and raises `DataError`, which names the file, the line, the problem and the fix. This is the
only module of the package that reads files. Any text file may be compressed with gzip (`.gz`).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from math import isfinite
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from recommendations.contracts import InteractionKind
from recommendations.evaluation.interactions import KINDS, POSITIVE_KINDS, Interactions, index_ids

try:
    from pyarrow import parquet
except ImportError:
    parquet = None

POSITIVE_STARS, NEGATIVE_STARS = 4.0, 2.0
"""A film with at least `POSITIVE_STARS` is liked, and one with at most `NEGATIVE_STARS` is of no interest."""

COLUMNS = ("member", "post", "kind", "time")
"""The columns of a file of interactions. Further columns are ignored."""

DELIMITERS = (",", ";", "\t")

MOVIELENS_COLUMNS = (("userId", "movieId", "rating", "timestamp"), ("member", "film", "rating", "rated_at"))
"""Member, post, stars and time: as MovieLens names them, and as the sample of this repository does."""
MOVIELENS_GENRES = (("movieId", "genres"), ("film", "genres"))
"""Post and genres, likewise."""
NO_GENRES = "(no genres listed)"

MAX_SECONDS = 1e11
"""Times from here on, in the year 5138, are milliseconds by mistake."""


class DataError(ValueError):
    """A file that cannot be read. The message names the *file*, the *line* if known, the *problem* and a *fix*."""

    def __init__(self, file: Path, line: int | None, problem: str, fix: str) -> None:
        where = f"{file}, line {line}" if line else str(file)
        super().__init__(f"{where}: {problem} {fix}")
        self.file, self.line, self.problem, self.fix = file, line, problem, fix


@dataclass(frozen=True)
class Row:
    """One line of a table, with its place for errors."""

    file: Path
    line: int
    values: Mapping[str, str]

    def read_id(self, column: str) -> str:
        """Return the id in *column*. Raises `DataError` if it is empty."""
        text = self.values[column].strip()
        if not text:
            raise self.build_error(column, "is empty", "Give an id.")
        return text

    def read_number(self, column: str) -> float:
        """Return the number in *column*. Raises `DataError` if it is not a finite number."""
        number = parse_number(self.values[column])
        if number is None:
            raise self.build_error(column, "is not a number", "Give a number, such as 3.5.")
        return number

    def read_kind(self, column: str) -> int:
        """Return the position in `KINDS` of the kind in *column*. Raises `DataError` for an unknown kind."""
        try:
            return KINDS.index(InteractionKind(self.values[column].strip().lower()))
        except ValueError:
            raise self.build_error(column, "is no kind of interaction", f"Give one of {', '.join(KINDS)}.") from None

    def read_time(self, column: str) -> float:
        """Return the Unix seconds in *column*, which are given as such or in RFC 3339. Raises `DataError`."""
        text = self.values[column].strip()
        seconds = parse_number(text)
        if seconds is None:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                fix = "Give RFC 3339, such as 2026-11-29T08:30:00Z, or Unix seconds."
                raise self.build_error(column, "is not a time", fix) from None
            if moment.tzinfo is None:
                raise self.build_error(column, "has no time zone", "Add Z or an offset, such as +01:00.")
            return moment.timestamp()
        if abs(seconds) >= MAX_SECONDS:
            raise self.build_error(column, "is too large for Unix seconds", "Divide milliseconds by 1000.")
        return seconds

    def build_error(self, column: str, problem: str, fix: str) -> DataError:
        """Return an error about the value in *column*."""
        return DataError(self.file, self.line, f"{column} {self.values[column]!r} {problem}.", fix)


@dataclass
class Columns:
    """The columns of interactions while a file is read."""

    members: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, member: str, post: str, kind: int, value: float, time: float) -> None:
        """Add one interaction."""
        self.members.append(member)
        self.posts.append(post)
        self.kinds.append(kind)
        self.values.append(value)
        self.times.append(time)

    def build(self, file: Path, positive_kinds: Iterable[InteractionKind] = POSITIVE_KINDS) -> Interactions:
        """Return the interactions. Raises `DataError` if there are none, or none is of a positive kind."""
        positive = sorted(KINDS.index(kind) for kind in positive_kinds)
        is_positive = np.isin(self.kinds, positive)
        if not is_positive.any():
            names = ", ".join(KINDS[kind] for kind in positive)
            fix = f"Give interactions of the kinds {names}, or name other kinds as positive."
            raise DataError(file, None, "There is no positive interaction.", fix)
        return Interactions.from_columns(
            self.members,
            self.posts,
            is_positive=is_positive,
            kinds=self.kinds,
            values=self.values,
            times=self.times,
        )


def read_movielens(folder: Path) -> Interactions:
    """
    Return the ratings of a MovieLens folder, or of the folder with the sample of this repository.

    Reads ratings.csv or ratings.csv.gz. A rating is a like from 4 stars on, not_interested up to 2 stars, else a view,
    as `manage.py import_sample movielens` has it; its value is the stars. Raises `DataError`.
    """
    file = find_file(folder, "ratings.csv")
    kinds = [KINDS.index(kind) for kind in (InteractionKind.NOT_INTERESTED, InteractionKind.VIEW, InteractionKind.LIKE)]
    columns = Columns()
    for row, (member, post, rating, time) in read_table(file, MOVIELENS_COLUMNS):
        stars = row.read_number(rating)
        kind = kinds[(stars > NEGATIVE_STARS) + (stars >= POSITIVE_STARS)]
        columns.add(row.read_id(member), row.read_id(post), kind, stars, row.read_time(time))
    return columns.build(file)


def read_movielens_genres(folder: Path, post_ids: Sequence[str]) -> csr_array:
    """
    Return the genres of the films of a MovieLens folder as a sparse matrix (posts, genres) of 0 and 1.

    Reads movies.csv, or films.csv.gz of the sample. Films that are not in *post_ids* (posts,) are left out. Raises
    `DataError`.
    """
    file = find_file(folder, "movies.csv", "films.csv")
    genres: dict[str, list[str]] = {}
    for row, (post, names) in read_table(file, MOVIELENS_GENRES):
        text = row.values[names].strip()
        genres[row.read_id(post)] = [] if text == NO_GENRES else [name for name in text.split("|") if name]
    return build_tag_matrix([genres.get(post, []) for post in post_ids])


def read_csv(file: Path, *, positive_kinds: Iterable[InteractionKind] = POSITIVE_KINDS) -> Interactions:
    """
    Return the interactions of a CSV file with the columns member, post, kind and time, named in its first line.

    The delimiter is a comma, semicolon or tab, whichever separates those names. Kinds are those of the API, in any
    case. Times are RFC 3339 with an offset, or Unix seconds. Interactions of *positive_kinds* are positive. Raises
    `DataError`.
    """
    columns = Columns()
    for row, (member, post, kind, time) in read_table(file, (COLUMNS,)):
        columns.add(row.read_id(member), row.read_id(post), row.read_kind(kind), 1.0, row.read_time(time))
    return columns.build(file, positive_kinds)


def read_parquet(file: Path, *, positive_kinds: Iterable[InteractionKind] = POSITIVE_KINDS) -> Interactions:
    """
    Return the interactions of a Parquet file with the columns of `read_csv`. Needs pyarrow.

    Times may also be timestamps with a time zone. Lines in errors count rows from 1. Raises `DataError`.
    """
    if parquet is None:
        raise DataError(file, None, "Parquet needs pyarrow.", "Run pip install pyarrow, or give a CSV file.")
    try:
        table = parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise DataError(file, None, f"The file cannot be read: {error}.", "Give a Parquet file.") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DataError(file, None, f"Columns are missing: {', '.join(missing)}.", "Add them, or rename others.")
    columns = Columns()
    for line, values in zip(count(1), zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)):
        row = Row(file, line, {name: format_value(value) for name, value in zip(COLUMNS, values, strict=True)})
        columns.add(row.read_id("member"), row.read_id("post"), row.read_kind("kind"), 1.0, row.read_time("time"))
    return columns.build(file, positive_kinds)


def format_value(value: object) -> str:
    """Return a value of a Parquet column as CSV would have it."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def read_lists(file: Path) -> Interactions:
    """
    Return the likes of a file with one line for each member: how many posts follow, then the numbers of the posts.

    This is the format of citeulike-a. The id of a member is the number of the line, from 0. There are no times. Posts
    that no member has are not in the catalogue. Raises `DataError`.
    """
    columns, like = Columns(), KINDS.index(InteractionKind.LIKE)
    for member, posts in enumerate(read_number_lists(file)):
        for post in posts:
            columns.add(str(member), str(post), like, 1.0, np.nan)
    return columns.build(file)


def read_tag_lists(file: Path, post_ids: Sequence[str]) -> csr_array:
    """
    Return the tags of posts as a sparse matrix (posts, tags) of 0 and 1, from a file like that of `read_lists`.

    Line n, from 0, has the tags of post n. Posts without a line have no tags. Raises `DataError`.
    """
    tags = {str(post): [str(tag) for tag in numbers] for post, numbers in enumerate(read_number_lists(file))}
    return build_tag_matrix([tags.get(post, []) for post in post_ids])


def build_tag_matrix(tags: Sequence[Sequence[str]]) -> csr_array:
    """Return the *tags* of each post (posts) as a sparse matrix (posts, tags) of 0 and 1, with tags in sorted order."""
    distinct = [sorted(set(names)) for names in tags]
    vocabulary, columns = index_ids([name for names in distinct for name in names])
    rows = np.repeat(np.arange(len(tags)), [len(names) for names in distinct])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(tags), len(vocabulary)))


def read_number_lists(file: Path) -> Iterator[list[int]]:
    """Yield the numbers of each line after the first number, which counts them. Raises `DataError`."""
    fix = "Give the number of items and then each item, as whole numbers from 0 separated by spaces."
    for line, text in enumerate(read_lines(file), 1):
        words = text.split()
        if not words or not all(word.isascii() and word.isdecimal() for word in words):
            raise DataError(file, line, "The line is not a list of whole numbers.", fix)
        expected, *numbers = map(int, words)
        if expected != len(numbers):
            raise DataError(file, line, f"The line names {expected} items and has {len(numbers)}.", fix)
        yield numbers


def find_file(folder: Path, *names: str) -> Path:
    """Return the first of these files in *folder*, plain or with .gz. Raises `DataError` if there is none."""
    files = [folder / name for plain in names for name in (plain, f"{plain}.gz")]
    for file in files:
        if file.is_file():
            return file
    raise DataError(folder, None, f"There is no {' or '.join(names)}.", "Give the folder that contains it.")


def read_lines(file: Path) -> Iterator[str]:
    """Yield the lines of *file*, with their ends. Raises `DataError` if it cannot be read, or is no UTF-8."""
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            # Decoded line by line: a decoder of the whole file would fail at the line where its buffer begins.
            for number, line in enumerate(lines, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(file, number, "The text is not in UTF-8.", "Save the file in UTF-8.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(file, None, f"The file cannot be read: {error}.", "Give a complete, readable file.") from error


def read_table(file: Path, accepted: Sequence[Sequence[str]]) -> Iterator[tuple[Row, Sequence[str]]]:
    """
    Yield each row of a CSV file, and which of the *accepted* sets of columns the file has.

    Names of columns are compared without case and surrounding spaces. Empty lines are skipped. Raises `DataError`.
    """
    lines = read_lines(file)
    delimiter, header, names = read_header(file, next(lines, ""), accepted)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            values = next(rows, None)
        except csv.Error as error:
            raise DataError(file, rows.line_num + 1, f"The line is no CSV: {error}.", "Check its quotes.") from error
        if values is None:
            return
        if values and len(values) != len(header):
            problem = f"The line has {len(values)} values for {len(header)} columns."
            raise DataError(file, rows.line_num + 1, problem, "Put quotes around values with a delimiter.")
        if values:
            yield Row(file, rows.line_num + 1, dict(zip(header, values, strict=True))), names


def read_header(file: Path, line: str, accepted: Sequence[Sequence[str]]) -> tuple[str, list[str], Sequence[str]]:
    """
    Return the delimiter of the first *line*, its columns, and which of the *accepted* sets of columns it has.

    Columns have the spelling of the accepted set. Raises `DataError` if no delimiter gives all columns of a set.
    """
    for delimiter in DELIMITERS:
        found = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        for names in accepted:
            spelling = {name.lower(): name for name in names}
            if all(found.count(name) == 1 for name in spelling):
                return delimiter, [spelling.get(name, name) for name in found], names
    wanted = " or ".join(", ".join(names) for names in accepted)
    problem = f"The first line is {line.strip()[:100]!r}, without the columns {wanted}."
    raise DataError(file, 1, problem, "Name each column once, separated by a comma, a semicolon or a tab.")


def parse_number(text: str) -> float | None:
    """Return the finite number that *text* is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
