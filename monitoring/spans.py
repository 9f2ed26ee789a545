"""What a trace is told of: parts of a request that took time. Nobody listens unless traces are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Listener = Callable[[str, float, float, Mapping[str, str | int | bool]], None]
LISTENERS: list[Listener] = []
"""Each takes a name, when it ended (`time.perf_counter`), how many seconds it took, and words and figures about it."""
