"""
Numbers as the language of the page writes them: 1,234.5 in English, 1.234,5 in German.

Templates and the admin do this for the columns of models by themselves (`USE_THOUSAND_SEPARATOR`). These functions are
for texts that Python composes. Ids are not numbers: they are texts.

A figure that is unknown is None, and a dash in the text. It is never 0: nobody could tell it from a measured 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils.formats import number_format

UNKNOWN = "–"
"""The text of an unknown figure."""


@dataclass(frozen=True, slots=True)
class ShownNumber:
    """A number, and its text in the language of the page. An export has the number."""

    number: float
    text: str

    def __str__(self) -> str:
        return self.text


def shown(number: float) -> ShownNumber:
    """Return a number for a page. Outside of a list's columns, the admin would write a bare one as Python does."""
    return ShownNumber(number, number_format(number))


def grouped(count: int | None) -> str:
    """Return a count with thousands separators."""
    return UNKNOWN if count is None else number_format(count)


def with_count(text: str, count: int | None) -> str:
    """Return a text with the count in place of `{n}`."""
    return text.format(n=grouped(count))


def decimals(value: float | None, digits: int) -> str:
    """Return a number rounded to *digits* decimals, with all of them."""
    return UNKNOWN if value is None else number_format(f"{value:.{digits}f}")


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number rounded to *digits* significant digits, but never to less than a whole number."""
    if value is None:
        return UNKNOWN
    return decimals(value, 0) if abs(value) >= 10 ** (digits - 1) else number_format(Decimal(f"{value:.{digits}g}"))


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with at most one decimal, such as "4 %" or "0.5 %"."""
    if share is None:
        return UNKNOWN
    return number_format(f"{100 * share:.1f}".removesuffix(".0")) + " %"
