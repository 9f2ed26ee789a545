"""Errors of a file, which stop an import before its first row, and errors of a row, which do not stop it."""

from dataclasses import dataclass


class ImportFileError(ValueError):
    """The file cannot be imported. The message has the reason and what to do."""


@dataclass(frozen=True, slots=True)
class RowError:
    """A rejected row, with the reason."""

    line: int
    """The first line of the row in the file, from 1."""
    field: str
    """Empty if the error concerns the whole row."""
    problem: str
    advice: str
