"""Reads a JSON body, within a limit of size and depth."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from recommendations.api.problems import Problem

MAX_BODY_BYTES = 5 * 2**20


class LimitedJSONParser(JSONParser):
    """Refuses a body above the limit before it is parsed, and one nested so deeply that parsing would fail."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        content = stream.read(MAX_BODY_BYTES + 1)
        if len(content) > MAX_BODY_BYTES:
            limit = MAX_BODY_BYTES // 2**20
            raise Problem(f"The body is larger than {limit} MB. Send it in parts.", status=413, code="body-too-large")
        try:
            return super().parse(BytesIO(content), media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
