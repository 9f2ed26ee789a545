"""Which texts a database can store: PostgreSQL has no NUL character, and UTF-8 has no half of a surrogate pair."""

from __future__ import annotations


def storage_problem(text: str) -> str:
    """Return why *text* cannot be stored, such as "contains a NUL character", or an empty string if it can."""
    if "\0" in text:
        return "contains a NUL character (\\u0000)"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return ""


def find_storage_problem(value: object) -> str:
    """Return `storage_problem` of the first text in a JSON value, keys included, that cannot be stored."""
    if isinstance(value, str):
        return storage_problem(value)
    if isinstance(value, dict):
        return next(filter(None, map(find_storage_problem, [*value, *value.values()])), "")
    if isinstance(value, list):
        return next(filter(None, map(find_storage_problem, value)), "")
    return ""
