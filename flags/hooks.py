"""Hooks that run after a flag is turned off: code that caches results of a flag registers here to purge them."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_turn_off_hooks: dict[str, list[Callable[[], None]]] = {}


def register_turn_off_hook(key: str, hook: Callable[[], None]) -> None:
    """Call *hook* after the flag *key* has been turned off."""
    _turn_off_hooks.setdefault(key, []).append(hook)


def run_turn_off_hooks(key: str) -> None:
    """Run the hooks of the flag. A hook that fails is logged; the flag is off regardless."""
    for hook in _turn_off_hooks.get(key, ()):
        try:
            hook()
        except Exception:
            log.exception("turn_off_hook_failed", extra={"flag": key})
