"""
Modules that extend a registry, such as the health checks of an app. They are imported when the registry is first read.

Django calls `AppConfig.ready` in every process, also for a command that reads no registry. If it imported what
the app registers, `manage.py flag kill` would load engines, clients and the whole pipeline first. It does not import
the registry either, but names the module that has it (`extensions_of`).
"""

from __future__ import annotations

import threading
from importlib import import_module


class Extensions:
    """
    The modules that extend one registry. Each has a function `register`, which adds its entries.

    An app calls `add` at its start, and the functions that read the registry call `load` first.
    """

    def __init__(self) -> None:
        self._modules: list[str] = []
        self._lock = threading.RLock()  # `register` may read another entry of the same registry

    def add(self, *modules: str) -> None:
        """Name modules by their dotted path. The order of their entries is the order of the calls."""
        self._modules.extend(modules)

    def load(self) -> None:
        """Import the modules that were not imported yet, and call their `register`. Other threads wait meanwhile."""
        if not self._modules:
            return
        with self._lock:
            while self._modules:
                module = self._modules[0]
                import_module(module).register()
                self._modules.remove(module)


_by_module: dict[str, Extensions] = {}


def extensions_of(module: str) -> Extensions:
    """Return the extensions of the registry in *module*, by its dotted path. The module need not be imported yet."""
    return _by_module.setdefault(module, Extensions())


long_running = extensions_of(__name__)
"""What web processes and workers need from their start, such as the receivers of signals."""


def load_all() -> None:
    """Load the extensions of every registry: a web process or a worker does so at its start, and not in a request."""
    for extensions in list(_by_module.values()):
        extensions.load()
