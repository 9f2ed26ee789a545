"""A JSON parser with a limit on nesting depth. Django limits the size of the body."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from rest_framework.parsers import JSONParser

from recommendations.api.problems import Problem

MAX_DEPTH = 32
"""Nesting depth of arrays and objects: three times what any endpoint needs."""
JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
NON_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def is_too_deep(content: bytes) -> bool:
    """Return whether arrays and objects are nested deeper than `MAX_DEPTH`. Brackets in strings do not count."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in JSON_STRING.sub(b"", content).translate(None, NON_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


class LimitedJSONParser(JSONParser):
    """Reject a body that is nested too deeply before parsing it."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        content = stream.read()
        if is_too_deep(content):
            detail = f"The body is nested deeper than {MAX_DEPTH} arrays and objects. No endpoint needs that."
            raise Problem(detail, status=400, code="body-too-deep")
        return super().parse(BytesIO(content), media_type, parser_context)
