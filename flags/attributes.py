"""
Registry of unit attributes for segments.

Other apps register readers here, so that flags do not depend on members. A reader is called only if a rule of the flag
needs one of its attributes and the caller did not give that attribute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.db import DatabaseError
from django.utils.translation import gettext

from monitoring.extensions import extensions_of
from values.translation import translatable

log = logging.getLogger(__name__)


class AttributeType(StrEnum):
    """The type of an attribute's values, as the JSON of an evaluation context has it."""

    TEXT = translatable("text")
    TEXTS = translatable("list of texts")
    NUMBER = translatable("number")
    BOOLEAN = translatable("true or false")

    @property
    def is_text(self) -> bool:
        """Whether conditions compare the attribute with texts."""
        return self in (AttributeType.TEXT, AttributeType.TEXTS)


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of units that this service can look up."""

    type: AttributeType
    description: str


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """A source of some attributes of a unit."""

    attributes: Mapping[str, Attribute]
    """By name."""
    read: Callable[[str], Mapping[str, object]]
    """Takes a unit's id and returns its attributes; unknown attributes are absent."""


extensions = extensions_of(__name__)
_readers: dict[str, AttributeReader] = {}


def register_attributes(
    name: str, attributes: Mapping[str, Attribute], read: Callable[[str], Mapping[str, object]]
) -> None:
    """Register *read* as the source of these attributes."""
    _readers[name] = AttributeReader(attributes, read)


def describe_attributes() -> dict[str, str]:
    """Return every registered attribute with its type and description, in the language of the page."""
    descriptions = {
        name: f"{gettext(row.type)}; {gettext(row.description)}" for name, row in registered_attributes().items()
    }
    return {"id": gettext("the unit's id")} | descriptions


def registered_attributes() -> dict[str, Attribute]:
    """Return every registered attribute by name."""
    extensions.load()
    return {name: row for reader in _readers.values() for name, row in reader.attributes.items()}


def is_text_attribute(name: str) -> bool:
    """Return whether the attribute is registered, and its values are texts."""
    row = registered_attributes().get(name)
    return row is not None and row.type.is_text


def read_attributes(needed: Iterable[str], unit_id: str, given: Mapping[str, object]) -> dict[str, object]:
    """
    Return the attributes *needed* for an evaluation: those *given* by the caller, and the rest from readers.

    An attribute that no reader has is absent. A reader that fails on the database is logged and skipped.
    """
    extensions.load()
    missing = set(needed) - set(given)
    values: dict[str, object] = {}
    for name, reader in _readers.items():
        if missing & set(reader.attributes):
            try:
                values |= reader.read(unit_id)
            except DatabaseError:
                log.exception("attribute_reader_failed", extra={"reader": name})
    return values | dict(given)
