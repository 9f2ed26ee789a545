"""The differences of two documents, as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flags.written_values import write_value


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field's value before and after a change."""

    field: str
    before: str
    after: str


def find_differences(before: Mapping[str, object] | None, after: Mapping[str, object]) -> list[FieldDifference]:
    """Return the fields that differ. Rows of a list are compared by position."""
    old, new = dict(flatten("", before or {})), dict(flatten("", after))
    names = [*new, *(name for name in old if name not in new)]
    return [
        FieldDifference(name, old.get(name, ""), new.get(name, ""))
        for name in names
        if old.get(name, "") != new.get(name, "")
    ]


def flatten(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield the path and the formatted value of each leaf of a document."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(f"{name} {key}".strip(), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from flatten(f"{name} {number}", inner)
    else:
        yield name, format_value(value)


def format_value(value: object) -> str:
    """Return a value as text for people. A text that looks like another type is in quotes."""
    if value is None or value == "":
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(format_value(inner) for inner in value)
    return write_value(value)
