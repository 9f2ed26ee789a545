"""The error of a value that cannot be used."""

from __future__ import annotations

from collections.abc import Callable

from values.translation import Phrase, phrase

MAX_QUOTED_ITEMS = 60
"""A longer list or object is described by its length, without reading its items."""


class InvalidValueError(ValueError):
    """A value that cannot be used: the *problem*, such as "'x' is not a number", and *advice* on what to send."""

    def __init__(self, problem: Phrase, advice: Phrase) -> None:
        super().__init__(problem, advice)
        self.phrases = problem, advice

    def __str__(self) -> str:
        return self.translate(str)

    @property
    def problem(self) -> str:
        """The problem in English."""
        return str(self.phrases[0])

    @property
    def advice(self) -> str:
        """The advice in English."""
        return str(self.phrases[1])

    def translate(self, gettext: Callable[[str], str]) -> str:
        """Return problem and advice in the language of *gettext*."""
        problem, advice = (part.translate(gettext) for part in self.phrases)
        return f"{problem}. {advice}"


def quote(value: object) -> str | Phrase:
    """Return *value* quoted for a message, in characters that can be printed, cut to 60 characters."""
    if isinstance(value, list | dict) and len(value) > MAX_QUOTED_ITEMS:
        count = f"{len(value):,}"
        return (
            phrase("a list of {n} items", n=count)
            if isinstance(value, list)
            else phrase("an object of {n} items", n=count)
        )
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def quote_value(value: object) -> str:
    """Return *value* quoted for a message in English."""
    return str(quote(value))
