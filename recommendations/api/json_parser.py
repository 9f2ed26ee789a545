"""Reads a JSON body, within a limit of size and depth."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import JSONParser

from recommendations.api.problems import Problem, body_too_large_problem

MAX_DEPTH = 32
"""Arrays and objects within one another: three times what any address asks for."""
JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
NON_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def is_too_deep(content: bytes) -> bool:
    """Return whether arrays and objects lie deeper within one another than they may; brackets in texts don't count."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in JSON_STRING.sub(b"", content).translate(None, NON_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


class LimitedJSONParser(JSONParser):
    """Refuses a body above the limits before it is parsed."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        content = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(content) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise body_too_large_problem()
        if is_too_deep(content):
            detail = f"The body is nested deeper than {MAX_DEPTH} arrays and objects. No address asks for that."
            raise Problem(detail, status=400, code="body-too-deep")
        return super().parse(BytesIO(content), media_type, parser_context)
