"""
What is known of a unit, for segments: those who know register here, so that flags need know nothing of members.

A reader is asked only for a flag whose rules need one of its attributes, and only for what the caller did not say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.db import DatabaseError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """Who knows some attributes."""

    attributes: Mapping[str, str]
    """What each is, in a few words."""
    read: Callable[[str], Mapping[str, object]]
    """From a unit's id to the attributes; those that are not known are left out."""


_readers: dict[str, AttributeReader] = {}


def register_attributes(name: str, attributes: Mapping[str, str], read: Callable[[str], Mapping[str, object]]) -> None:
    """Have *read* asked for these attributes."""
    _readers[name] = AttributeReader(attributes, read)


def describe_attributes() -> dict[str, str]:
    """Return every attribute that is known here, and what it is."""
    return {"id": "the unit's own id"} | {k: v for reader in _readers.values() for k, v in reader.attributes.items()}


def read_attributes(needed: Iterable[str], unit_id: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return what is needed to evaluate: what the caller *said*, and the rest from readers. Unknown stays unknown."""
    missing = set(needed) - set(given)
    found: dict[str, object] = {}
    for name, reader in _readers.items():
        if missing & set(reader.attributes):
            try:
                found |= reader.read(unit_id)
            except DatabaseError:
                log.exception("attributes_unreadable", extra={"reader": name})
    return found | dict(given)
