"""What all engines do alike with their extra spaces: vectors beside an engine's own, such as collaborative factors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from recommendations.ports import VectorError

S = TypeVar("S")

NO_EXTRA_SPACES: Mapping[str, int] = MappingProxyType({})
"""Dimensions of the extra spaces, by name, of an engine that has none."""


def space_named(name: str, spaces: Mapping[str, S]) -> S:
    """Return the extra space of this name, or raise `VectorError` with the names that there are."""
    if name not in spaces:
        raise VectorError(f"There is no extra space {name!r}; this engine has {', '.join(spaces) or 'none'}.")
    return spaces[name]
