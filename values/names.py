"""Names of fields: an unknown one is refused with the nearest known one, because it is usually misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from values.problems import quote
from values.translation import Phrase, phrase

MAX_NAME = 60
"""A longer name is not compared: the comparison takes time by the product of the lengths."""


def find_unknown_name(names: Iterable[object], known: Iterable[str]) -> str | None:
    """Return the first of *names* that is not *known*, as a text."""
    known_names = set(known)
    return next((str(name) for name in names if name not in known_names), None)


def describe_unknown_name(name: str, known: Iterable[str]) -> tuple[Phrase, Phrase]:
    """Return the problem and the advice for an unknown name."""
    known_names = list(known)
    near = get_close_matches(name[:MAX_NAME].lower(), known_names, n=1, cutoff=0.6)
    names = ", ".join(known_names)
    if near:
        advice = phrase("Did you mean {name}? The names are {names}.", name=near[0], names=names)
    else:
        advice = phrase("The names are {names}.", names=names)
    return phrase("{value} is not known", value=quote(name)), advice
