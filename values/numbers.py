"""Numbers and booleans, as JSON values or as texts in a cell or a query."""

from __future__ import annotations

import math
import re

from values.problems import InvalidValueError, quote
from values.translation import phrase

JSON_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
MAX_DIGITS = 400
"""A longer text is no number that a float can hold."""
BOOLEAN_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_number(value: object) -> float | None:
    """Return a number, or the number that a text of decimal digits states; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if len(text) <= MAX_DIGITS and JSON_NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def parse_number(value: object, low: float, high: float) -> float:
    """Return a finite number from *low* to *high*."""
    number, advice = (
        read_number(value),
        phrase("Give a number from {low} to {high}.", low=format(low, "g"), high=format(high, "g")),
    )
    if number is None:
        raise InvalidValueError(phrase("{value} is not a number", value=quote(value)), advice)
    if not math.isfinite(number) or not low <= number <= high:
        raise InvalidValueError(phrase("{value} cannot be used", value=quote(value)), advice)
    return number


def parse_whole_number(value: object, low: int, high: int) -> int:
    """Return a whole number from *low* to *high*."""
    # A float holds whole numbers to 2**53 only.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    number: int | float | None = value if is_whole else read_number(value)  # type: ignore[assignment]
    advice = phrase("Give a whole number from {low} to {high}.", low=low, high=high)
    if number is None:
        raise InvalidValueError(phrase("{value} is not a number", value=quote(value)), advice)
    if not low <= number <= high or number % 1:
        raise InvalidValueError(phrase("{value} cannot be used", value=quote(value)), advice)
    return int(number)


def parse_boolean(value: object) -> bool:
    """Return a boolean: true or false, also as a text, yes or no, 1 or 0."""
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word not in BOOLEAN_WORDS:
        raise InvalidValueError(
            phrase("{value} is neither true nor false", value=quote(value)), phrase("Write true or false.")
        )
    return BOOLEAN_WORDS[word]
