"""What can be wrong with a file, which stops the import at its start, and with a row, which never does."""

from dataclasses import dataclass


class ImportFileError(ValueError):
    """The file cannot be imported at all. Says what was wrong and what to do."""


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that was left out, and why."""

    line: int
    """The first line of the row in the file, from 1."""
    field: str
    """Empty when the row as a whole is the problem."""
    problem: str
    advice: str


def quote_value(value: object) -> str:
    """Return *value* for a message: quoted, and cut so that a megabyte does not fill the errors file."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
