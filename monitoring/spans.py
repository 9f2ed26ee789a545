"""What a trace is told of: parts of a request that took time. Nobody listens unless traces are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

SpanListener = Callable[[str, float, float, Mapping[str, str | int | bool]], None]
SPAN_LISTENERS: list[SpanListener] = []
"""Each takes a name, when it ended (`time.perf_counter`), how many seconds it took, and words and figures about it."""
