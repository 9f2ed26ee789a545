"""Conversion of values to and from form text: true, 12.5, plain text; JSON for flags of kind JSON."""

from __future__ import annotations

import json

from django.forms import ValidationError

from flags.models import Flag

TEXT_OPERATORS = frozenset({"contains", "starts_with", "version_at_least", "version_below"})
"""The operators of conditions that compare texts only."""
TRUE_WORDS, FALSE_WORDS = {"true", "on", "yes", "1"}, {"false", "off", "no", "0"}


def format_form_value(kind: str, value: object) -> str:
    """Return the value as form text."""
    return value if kind == Flag.Kind.STRING and isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_value(kind: str, text: str) -> object:
    """Return the text as a value of this kind. Raises `ValidationError`."""
    word = text.strip()
    if kind == Flag.Kind.STRING:
        return text
    if kind == Flag.Kind.BOOL and word.lower() in TRUE_WORDS | FALSE_WORDS:
        return word.lower() in TRUE_WORDS
    if kind == Flag.Kind.BOOL:
        raise ValidationError(f"Enter true or false, not {word!r}.")
    try:
        return json.loads(word)
    except ValueError as error:
        expected = "a number, such as 12.5" if kind == Flag.Kind.NUMBER else f"valid JSON ({error})"
        raise ValidationError(f"Enter {expected}, not {word!r}.") from error


def parse_condition_value(text: str, operator: str = "") -> object:
    """
    Return a line as a condition's value: true, false, a number, or a text.

    A text in quotes is read as JSON, such as "276" or " x ", so that every value can be written. An operator that
    compares texts makes every other line a text: the version 1.10 is not the number 1.1.
    """
    word = text.strip()
    try:
        value = json.loads(word)
    except ValueError:
        return word
    if isinstance(value, str):
        return value
    is_text = value is None or isinstance(value, dict | list) or operator in TEXT_OPERATORS
    return word if is_text else value


def format_condition_value(value: object, operator: str) -> str:
    """Return a condition's value as the line that `parse_condition_value` reads back as the same value."""
    is_plain = isinstance(value, str) and value.isprintable() and parse_condition_value(value, operator) == value
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False)
