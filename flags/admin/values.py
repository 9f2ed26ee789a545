"""Conversion of values to and from form text: true, 12.5, plain text; JSON for flags of kind JSON."""

from __future__ import annotations

import json

from django.forms import ValidationError

from flags.models import Flag

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


def parse_condition_value(text: str) -> object:
    """Return the text as a condition's value: a boolean or a number if it parses as one, else the text."""
    word = text.strip()
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return word if value is None or isinstance(value, dict | list | str) else value
