"""The renderer of the API's responses: JSON."""

from __future__ import annotations

from typing import Any

import orjson
from drf_orjson_renderer.renderers import ORJSONRenderer


class JSONRenderer(ORJSONRenderer):  # type: ignore[misc]
    """
    Renders JSON, also of a response that quotes half of a surrogate pair from a request.

    UTF-8 cannot represent it. It is written as its escape sequence, such as \\\\ud800, in the text.
    """

    def render(self, data: Any, media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """Return *data* as JSON in UTF-8."""
        try:
            return bytes(super().render(data, media_type, renderer_context))
        except orjson.JSONEncodeError:
            return bytes(super().render(escape_surrogates(data), media_type, renderer_context))


def escape_surrogates(value: Any) -> Any:
    """Return a JSON value without halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {escape_surrogates(name): escape_surrogates(item) for name, item in value.items()}
    return [escape_surrogates(item) for item in value] if isinstance(value, list | tuple) else value
