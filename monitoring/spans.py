"""Listeners for trace spans: timed steps of a request. The list is empty unless tracing is enabled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

SpanListener = Callable[[str, float, float, Mapping[str, str | int | bool]], None]
SPAN_LISTENERS: list[SpanListener] = []
"""Each is called with the span's name, its end (`time.perf_counter`), its duration in seconds and its attributes."""
