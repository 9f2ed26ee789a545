"""The request that Django gets: its text is UTF-8, whatever charset the client names."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters

MAX_CONTENT_TYPE_LENGTH = 256
"""Longest Content-Type that is parsed. A multipart boundary has at most 70 characters."""
UNREADABLE: tuple[str, dict[str, str]] = ("", {"charset": "unreadable"})


class Utf8Request(WSGIRequest):
    """
    A request that decodes nothing by the charset that the client names.

    Django's own request decodes the query string by it when it is created, before any middleware can refuse the
    request: codecs that are no character encoding then fail (hex, idna), and punycode takes quadratic time. Parsing the
    header takes quadratic time as well, and decodes each parameter whose name ends with an asterisk (RFC 2231). So a
    header that is long or has an asterisk is not parsed, and `access.middleware.EncodingMiddleware` refuses it like
    any other charset than UTF-8.
    """

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        """Set the media type and its parameters, and leave the encoding alone."""
        header = meta.get("CONTENT_TYPE", "")
        is_readable = len(header) <= MAX_CONTENT_TYPE_LENGTH and "*" not in header
        self.content_type, self.content_params = parse_header_parameters(header) if is_readable else UNREADABLE
