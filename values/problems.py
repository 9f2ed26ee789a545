"""The error of a value that cannot be used."""

from __future__ import annotations

MAX_QUOTED_ITEMS = 60
"""A longer list or object is described by its length, without reading its items."""


class InvalidValueError(ValueError):
    """A value that cannot be used: the *problem*, such as "'x' is not a number", and *advice* on what to send."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)
        self.problem, self.advice = problem, advice

    def __str__(self) -> str:
        return f"{self.problem}. {self.advice}"


def quote_value(value: object) -> str:
    """Return *value* quoted for a message, in characters that can be printed, cut to 60 characters."""
    if isinstance(value, list | dict) and len(value) > MAX_QUOTED_ITEMS:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,} items"
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
