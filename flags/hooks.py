"""Hooks that run after a flag is turned off: code that caches results of a flag registers here to purge them."""

from __future__ import annotations

import logging

from django.utils.module_loading import import_string

log = logging.getLogger(__name__)

_turn_off_hooks: dict[str, list[str]] = {}


def register_turn_off_hook(key: str, path: str) -> None:
    """Call the function with the dotted *path*, without arguments, after the flag *key* has been turned off."""
    _turn_off_hooks.setdefault(key, []).append(path)


def run_turn_off_hooks(key: str) -> None:
    """Run the hooks of the flag. A hook that fails is logged; the flag is off regardless."""
    for path in _turn_off_hooks.get(key, ()):
        try:
            import_string(path)()
        except Exception:
            log.exception("turn_off_hook_failed", extra={"flag": key})
