"""Values as a person types them: true, 12.5, a text as it is; JSON only for flags whose values are JSON."""

from __future__ import annotations

import json

from django.forms import ValidationError

from flags.models import Flag

TRUE_WORDS, FALSE_WORDS = {"true", "on", "yes", "1"}, {"false", "off", "no", "0"}


def format_form_value(kind: str, value: object) -> str:
    """Return the value as it stands in a form."""
    return value if kind == Flag.Kind.STRING and isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_value(kind: str, text: str) -> object:
    """Return what was typed as a value of this kind, or raise `ValidationError`."""
    word = text.strip()
    if kind == Flag.Kind.STRING:
        return text
    if kind == Flag.Kind.BOOL and word.lower() in TRUE_WORDS | FALSE_WORDS:
        return word.lower() in TRUE_WORDS
    if kind == Flag.Kind.BOOL:
        raise ValidationError("Write true or false.")
    try:
        found = json.loads(word)
    except ValueError as error:
        what = "a number, such as 12.5" if kind == Flag.Kind.NUMBER else f"JSON: {error}"
        raise ValidationError(f"Write {what}.") from error
    return found


def parse_condition_value(text: str) -> object:
    """Return one typed value of a condition: true, false or a number if it reads as one, else the text."""
    word = text.strip()
    try:
        found = json.loads(word)
    except ValueError:
        return word
    return word if found is None or isinstance(found, dict | list | str) else found
