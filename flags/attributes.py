"""
Registry of unit attributes for segments.

Other apps register readers here, so that flags do not depend on members. A reader is called only if a rule of the flag
needs one of its attributes and the caller did not give that attribute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.db import DatabaseError

from monitoring.extensions import Extensions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """A source of some attributes of a unit."""

    attributes: Mapping[str, str]
    """Attribute name to a short description."""
    read: Callable[[str], Mapping[str, object]]
    """Takes a unit's id and returns its attributes; unknown attributes are absent."""


extensions = Extensions()
_readers: dict[str, AttributeReader] = {}


def register_attributes(name: str, attributes: Mapping[str, str], read: Callable[[str], Mapping[str, object]]) -> None:
    """Register *read* as the source of these attributes."""
    _readers[name] = AttributeReader(attributes, read)


def describe_attributes() -> dict[str, str]:
    """Return every registered attribute with its description."""
    extensions.load()
    return {"id": "the unit's id"} | {k: v for reader in _readers.values() for k, v in reader.attributes.items()}


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
