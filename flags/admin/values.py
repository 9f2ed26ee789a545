"""Conversion of a flag's values to and from form text: true, 12.5, plain text; JSON for flags of kind JSON."""

from __future__ import annotations

import json

from django.forms import ValidationError
from django.utils.translation import gettext

from flags.models import Flag
from flags.written_values import parse_written
from values.json_text import parse_json

TRUE_WORDS, FALSE_WORDS = {"true", "on", "yes", "1"}, {"false", "off", "no", "0"}


def format_form_value(kind: str, value: object) -> str:
    """Return the value as form text that `parse_value` reads back as the same value."""
    is_plain = (
        kind == Flag.Kind.STRING
        and isinstance(value, str)
        and value.isprintable()
        and parse_value(kind, value) == value
    )
    # Escapes keep what a field of one line cannot hold, such as a line break.
    return str(value) if is_plain else json.dumps(value, ensure_ascii=not str(value).isprintable())


def parse_value(kind: str, text: str) -> object:
    """Return the text as a value of this kind. Raises `ValidationError`."""
    word = text.strip()
    if kind == Flag.Kind.STRING:
        value = parse_written(text, is_text=True)
        return text if value == word else value
    if kind == Flag.Kind.BOOL and word.lower() in TRUE_WORDS | FALSE_WORDS:
        return word.lower() in TRUE_WORDS
    if kind == Flag.Kind.BOOL:
        raise ValidationError(gettext("Enter true or false, not {word}.").format(word=repr(word)))
    try:
        return parse_json(word)
    except (ValueError, RecursionError) as error:
        if kind == Flag.Kind.NUMBER:
            text = gettext("Enter a number, such as 12.5, not {word}.")
        else:
            text = gettext("Enter valid JSON ({error}), not {word}.")
        raise ValidationError(text.format(error=error, word=repr(word))) from error
