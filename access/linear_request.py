"""The request that Django gets: its headers are parsed in linear time, and its text is UTF-8."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.handlers.wsgi import WSGIRequest, get_str_from_wsgi
from django.http import parse_cookie
from django.utils.functional import cached_property
from django.utils.http import parse_header_parameters

MAX_CONTENT_TYPE_LENGTH = 256
"""Longest Content-Type that is parsed. A multipart boundary has at most 70 characters."""
UNREADABLE: tuple[str, dict[str, str]] = ("", {"charset": "unreadable"})


class LinearRequest(WSGIRequest):
    """
    A request that a visitor cannot make costly by its headers.

    Django's own request decodes the query string by the charset that the client names. It does so when it is created,
    before any middleware can refuse the request: codecs that are no character encoding then fail (hex, idna), and
    punycode takes quadratic time. Parsing the Content-Type takes quadratic time as well, and decodes each parameter
    whose name ends with an asterisk (RFC 2231). So a Content-Type that is long or has an asterisk is not parsed, and
    `access.middleware.EncodingMiddleware` refuses it like any other charset than UTF-8.

    Before Python 3.11.10 and 3.12.6, a backslash in a quoted cookie takes quadratic time (CVE-2024-7592). No cookie of
    this service has one.
    """

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        """Set the media type and its parameters, and leave the encoding alone."""
        header = meta.get("CONTENT_TYPE", "")
        is_readable = len(header) <= MAX_CONTENT_TYPE_LENGTH and "*" not in header
        self.content_type, self.content_params = parse_header_parameters(header) if is_readable else UNREADABLE

    @cached_property
    def COOKIES(self) -> dict[str, str]:  # type: ignore[override]  # noqa: N802 - Django's name
        """The cookies, without backslashes."""
        return parse_cookie(get_str_from_wsgi(self.environ, "HTTP_COOKIE", "").replace("\\", ""))
