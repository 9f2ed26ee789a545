"""Names of fields: an unknown one is refused with the nearest known one, because it is usually misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from values.problems import quote_value

MAX_NAME = 60
"""A longer name is not compared: the comparison takes time by the product of the lengths."""


def find_unknown_name(names: Iterable[object], known: Iterable[str]) -> str | None:
    """Return the first of *names* that is not *known*, as a text."""
    known_names = set(known)
    return next((str(name) for name in names if name not in known_names), None)


def describe_unknown_name(name: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the problem and the advice for an unknown name."""
    known_names = list(known)
    near = get_close_matches(name[:MAX_NAME].lower(), known_names, n=1, cutoff=0.6)
    question = f"Did you mean {near[0]}? " if near else ""
    return f"{quote_value(name)} is not known", f"{question}The names are {', '.join(known_names)}."
