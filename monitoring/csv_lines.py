"""CSV lines for spreadsheets: no cell of text is read as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""ASCII and full-width forms: some spreadsheets read these, too."""
LINE_STARTS = ("\t", "\r", "\n")


def csv_line(cells: Iterable[object]) -> str:
    """
    Return one line of CSV, with its line end.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, as OWASP advises ("CSV Injection").
    Numbers are unchanged, also negative ones.
    """
    line = io.StringIO(newline="")
    csv.writer(line).writerow([escape_formula(cell) for cell in cells])
    return line.getvalue()


def escape_formula(cell: object) -> object:
    """Return a text that begins like a formula with an apostrophe in front, and any other value unchanged."""
    is_formula = isinstance(cell, str) and (cell.startswith(LINE_STARTS) or cell.lstrip().startswith(FORMULA_STARTS))
    return f"'{cell}" if is_formula else cell
