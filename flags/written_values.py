"""
Values as people write them, in a form, in YAML and in a command: true, 12.5, a text, or a text in quotes.

What is written without quotes must have one meaning, so that no digit of a text is lost: 1.10 could be a version or the
number 1.1.
"""

from __future__ import annotations

import json
import math

from values.json_text import parse_json
from values.numbers import JSON_NUMBER
from values.problems import InvalidValueError, quote
from values.translation import phrase

BOOLEANS = ("true", "false")


def parse_written(text: str, *, is_text: bool = False) -> str | bool | int | float:
    """
    Return a written value. With *is_text*, what is not in quotes is a text.

    Raises `InvalidValueError` for a number or a boolean that JSON writes in another way.
    """
    word = text.strip()
    try:
        value = parse_json(word)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, str):
        return value
    if is_text:
        return word
    if isinstance(value, bool | int | float) and json.dumps(value) == word:
        return value
    if JSON_NUMBER.fullmatch(word):
        raise ambiguity(word, float(word))
    if word.lower() in BOOLEANS:
        raise ambiguity(word, word.lower() == "true")
    return word


def ambiguity(word: str, value: bool | int | float) -> InvalidValueError:
    """Return the error of a word that is a text to one reader, and *value* to another."""
    written = json.dumps(value).removesuffix(".0")
    if isinstance(value, bool):
        advice = phrase("Write {word} for the boolean, or write it in quotes for the text.", word=written)
    elif math.isfinite(value):
        advice = phrase("Write {word} for the number, or write it in quotes for the text.", word=written)
    else:
        advice = phrase("Write it in quotes for the text.")
    return InvalidValueError(phrase("{value} has two meanings", value=quote(word)), advice)


def write_value(value: object, *, is_text: bool = False) -> str:
    """Return a value as one line that `parse_written` reads back as the same value."""
    if isinstance(value, str) and value and value.isprintable():
        try:
            if parse_written(value, is_text=is_text) == value:
                return value
        except InvalidValueError:
            pass
    return json.dumps(value)
