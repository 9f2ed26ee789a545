"""Texts that are translated where they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{(\w+)\}")


def translatable(text: str) -> str:
    """
    Return the text, and mark it for the catalogues (`recsys_project.messages`).

    For modules that import no framework. An entry point translates the text with `gettext` when it shows it.
    """
    return text


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text with values in the places of its template, such as "{value} is not a number". As a `str`, in English."""

    template: str
    values: Mapping[str, object]

    def __str__(self) -> str:
        return self.translate(str)

    def translate(self, gettext: Callable[[str], str]) -> str:
        """Return the text in the language of *gettext*, also the phrases among its values."""
        texts = {
            name: value.translate(gettext) if isinstance(value, Phrase) else str(value)
            for name, value in self.values.items()
        }
        return PLACEHOLDER.sub(lambda place: texts.get(place[1], place[0]), gettext(self.template))


def phrase(template: str, **values: object) -> Phrase:
    """Return a phrase, and mark its template for the catalogues, as `translatable` does."""
    return Phrase(template, values)
