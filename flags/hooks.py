"""What else must happen when a flag is turned off: those who keep what it made register here."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_turn_off_hooks: dict[str, list[Callable[[], None]]] = {}


def register_turn_off_hook(key: str, hook: Callable[[], None]) -> None:
    """Have *forget* called once the flag *key* has been turned off."""
    _turn_off_hooks.setdefault(key, []).append(hook)


def run_turn_off_hooks(key: str) -> None:
    """Call what is registered. One that fails is logged: the flag is off all the same."""
    for forget in _turn_off_hooks.get(key, ()):
        try:
            forget()
        except Exception:
            log.exception("after_off_failed", extra={"flag": key})
