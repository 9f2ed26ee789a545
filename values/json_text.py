"""JSON: parsed in one way, so that no two readers of the same bytes disagree."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Never

from values.problems import quote_value

MAX_DIGITS = 400
"""A longer whole number is read as infinity, which every type refuses: Python would refuse the text as a whole."""


def parse_json(text: str) -> Any:
    """Return the value. Raises `ValueError` for NaN and Infinity, and for an object that has a name twice."""
    return json.loads(
        text,
        parse_int=parse_whole_number,
        parse_constant=refuse_constant,
        object_pairs_hook=build_object_of_unique_names,
    )


class StrictDecoder(json.JSONDecoder):
    """Parses JSON as `parse_json` does, for a form's field, which knows one kind of error."""

    def decode(self, s: str, *_args: object) -> Any:
        """Return the value. Raises `JSONDecodeError`."""
        try:
            return parse_json(s)
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), s, 0) from error


def parse_whole_number(digits: str) -> int | float:
    """Return a whole number."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def refuse_constant(name: str) -> Never:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(f"Out of range float values are not JSON compliant: {name}")


def build_object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Raises `ValueError` for a repeated name, of which another parser might use the other value."""
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"An object has the name {quote_value(repeated)} twice.")
    return parsed
