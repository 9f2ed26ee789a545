"""Columns of the admin's lists that format a number of the row: rounded, as a percentage, in bytes, or as an id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from django.contrib import admin
from django.db.models import Model
from django.template.defaultfilters import filesizeformat
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from monitoring.number_texts import shown, significant

Column = Callable[[Any], Any]
Text = str | Promise
"""A text, or one that is translated where it is shown."""


class StateLabel(NamedTuple):
    """A state, by which the theme finds the color of a label, and its text in the language of the page."""

    state: str
    text: str

    def __str__(self) -> str:
        return self.text


def number_column(name: str, show: Callable[[Any], object], description: Text = "", count: str = "") -> Column:
    """
    Return a column that shows the field *name* by *show*, and sorts by it. An unknown value is a dash.

    *count* is the field with the number of measurements behind the value, which is unknown if there are none.
    """

    text = cast(str, description or gettext_lazy(name.replace("_", " ")))

    @admin.display(description=text, ordering=name)
    def column(row: Model) -> object:
        value = getattr(row, name)
        return None if value is None or (count and not getattr(row, count)) else show(value)

    column.__name__ = f"{name}_shown"
    return column


def rounded(name: str, digits: int = 1, description: Text = "", count: str = "") -> Column:
    """Return a column with the number rounded to *digits* decimals. *count*: see `number_column`."""
    return number_column(name, lambda value: shown(round(value, digits)), description, count)


def percentage(name: str, description: Text = "") -> Column:
    """Return a column for a number that is stored in percent, such as 12.5."""
    return number_column(name, lambda value: f"{significant(value, 6)} %", description)


def fraction(name: str, description: Text = "") -> Column:
    """Return a column for a number that is stored as a fraction, such as 0.125, which it shows in percent."""
    return number_column(name, lambda value: f"{significant(100 * value, 3)} %", description)


def byte_size(name: str, description: Text = "") -> Column:
    """Return a column for a number of bytes, in its largest unit."""
    return number_column(name, filesizeformat, description)


def identifier(name: str, description: Text) -> Column:
    """Return a column for a number that identifies something, such as a primary key: without separators."""
    return number_column(name, str, description)
