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


MAX_QUOTED_ITEMS = 60
"""A longer list or object is described by its length, without reading its items."""


def quote_value(value: object) -> str:
    """Return *value* quoted for a message, cut to 60 characters to bound the size of the errors file."""
    if isinstance(value, list | dict) and len(value) > MAX_QUOTED_ITEMS:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,} items"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
