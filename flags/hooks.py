"""What else must happen when a flag is turned off: those who keep what it made register here."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_after_off: dict[str, list[Callable[[], None]]] = {}


def register_after_off(key: str, forget: Callable[[], None]) -> None:
    """Have *forget* called once the flag *key* has been turned off."""
    _after_off.setdefault(key, []).append(forget)


def turned_off(key: str) -> None:
    """Call what is registered. One that fails is logged: the flag is off all the same."""
    for forget in _after_off.get(key, ()):
        try:
            forget()
        except Exception:
            log.exception("after_off_failed", extra={"flag": key})
