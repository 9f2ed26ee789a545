"""The extra spaces of engines: vectors in addition to the engine's own, such as collaborative factors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from recommendations.ports import VectorError

S = TypeVar("S")

NO_EXTRA_SPACES: Mapping[str, int] = MappingProxyType({})
"""The dimensions of the extra spaces, by name, of an engine without any."""


def space_named(name: str, spaces: Mapping[str, S]) -> S:
    """Return the extra space *name*. Raises `VectorError` with the existing names if there is none."""
    if name not in spaces:
        raise VectorError(f"There is no extra space {name!r}. The extra spaces are: {', '.join(spaces) or 'none'}.")
    return spaces[name]
