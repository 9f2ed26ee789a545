"""
Readings that guardrails hold rollouts by: those who measure register here, so that flags need know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, from how many samples. With none the value says nothing."""

    value: float
    samples: int


Read = Callable[[str, datetime, datetime], Reading]
"""From a variant (empty: all of them), since when and until when, to the reading."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A reading by its name."""

    description: str
    read: Read


_registered: dict[str, Registered] = {}


def register(name: str, description: str, read: Read) -> None:
    """Let guardrails name this reading. *description* says what it is, and its unit."""
    _registered[name] = Registered(description, read)


def described() -> dict[str, str]:
    """Return each reading's name, and what it is."""
    return {name: one.description for name, one in sorted(_registered.items())}


def read(name: str, variant: str, since: datetime, until: datetime) -> Reading:
    """Return the reading of this name. Raises `KeyError` if nobody registered it."""
    return _registered[name].read(variant, since, until)
