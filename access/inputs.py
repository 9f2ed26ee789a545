"""
The inputs of an API request, parsed once: the view acts on what the permission check has checked.

Each operation declares the query and the body that it takes, and which of their values identify members (`Operation`).
`Inputs` is the only code of the API that reads the query string and the body, which a test of the architecture checks.
Two readers of the same bytes can disagree, as about a parameter that is given twice, and then one member reads as
another. The content type does not affect how they are read: the middleware refuses other charsets than UTF-8
(`access.middleware`), and a body is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Never
from urllib.parse import parse_qsl

from django.http import HttpRequest, QueryDict
from rest_framework import request as drf
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.fields import ListField
from rest_framework.serializers import Serializer

from access.request_costs import count_items
from values.json_text import parse_json
from values.names import describe_unknown_name, find_unknown_name

MAX_CACHED_QUERIES = 1_000
"""Validated query strings that a process caches: most requests repeat one. Changes the speed, not the result."""
MAX_CACHED_QUERY_LENGTH = 200
"""Longer query strings contain post ids or a cursor and are rarely repeated, so they are not cached."""
MAX_PARAMETERS = 1_000
MAX_DEPTH = 32
"""Nesting depth of arrays and objects: three times what any endpoint needs."""
JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
NON_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
RAW_INPUTS = ("GET", "FILES", "body", "data", "read", "stream")
"""Attributes of Django's and DRF's requests that read the query string or the body."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The inputs of one operation: a method of a view."""

    query: Serializer[Any] | None = None
    """Validates the query parameters. One serializer serves all requests. None: the operation has no parameters."""
    parse_body: Callable[[Any], Any] | None = None
    """Validates and converts the parsed JSON of the body. None: the operation takes no body."""
    member_ids: Callable[[Inputs], Iterable[object]] | None = None
    """Returns the members that query and body are about. None: no member, or only the one in the path."""


class Inputs:
    """The inputs of a request. Query and body are parsed at the first access; both may raise an `APIException`."""

    def __init__(self, request: HttpRequest, path: Mapping[str, Any], operation: Operation) -> None:
        self._request, self._operation = request, operation
        self.path = path
        """The parameters of the URL."""

    @cached_property
    def query(self) -> Mapping[str, Any]:
        """The validated query parameters. Do not modify the values: they are cached."""
        query_string = self._request.META.get("QUERY_STRING", "")
        if self._operation.query is None:
            return {}
        if len(query_string) <= MAX_CACHED_QUERY_LENGTH:
            return validate_query_string(self._operation.query, query_string)
        return validate_query_string.__wrapped__(self._operation.query, query_string)

    @cached_property
    def body(self) -> Any:
        """The body, as the operation's function returns it. No body counts as an empty object."""
        return self._operation.parse_body(self._content) if self._operation.parse_body else None

    @cached_property
    def item_count(self) -> int:
        """How many items the body lists, before they are validated: the rate limits count them."""
        return count_items(self._content) if self._operation.parse_body else 0

    @cached_property
    def _content(self) -> Any:
        """The parsed JSON of the body."""
        content = self._request.body
        return parse_body(content) if content else {}

    @property
    def member_ids(self) -> Iterable[object] | None:
        """The ids of the members that the request is about, or None if the operation does not say which."""
        in_path = [self.path["member_id"]] if "member_id" in self.path else None
        if self._operation.member_ids is None:
            return in_path
        return [*(in_path or ()), *self._operation.member_ids(self)]

    def refuse_undeclared_query(self) -> None:
        """Raise `ValidationError` for a query parameter of an operation that has none."""
        query_string = self._request.META.get("QUERY_STRING", "")
        if query_string and self._operation.query is None:
            names = dict.fromkeys(parse_query_string(query_string), "This operation has no query parameters.")
            raise ValidationError(names, code="unknown-parameter")

    def require_known_content_type(self) -> None:
        """Raise `UnsupportedMediaType` for a body that is not JSON. A request without a body may have any type."""
        content_type = self._request.content_type or ""
        if has_body(self._request) and content_type.lower() != "application/json":
            raise UnsupportedMediaType(content_type)


class Request(drf.Request):
    """The request that views and permissions get. Its raw query and body are not accessible."""

    inputs: Inputs
    query_params = QueryDict()
    """Empty. DRF's content negotiation looks here for a parameter that chooses a format."""
    POST = QueryDict()
    """Empty. DRF looks here for the CSRF token of a session, which the API takes from the header only."""


def raise_raw_input(request: Request) -> Never:
    """Refuse the access to a raw input."""
    raise AssertionError("Declare the query and the body of the operation, and read them from `request.inputs`.")


for name in RAW_INPUTS:
    setattr(Request, name, property(raise_raw_input))


def has_body(request: HttpRequest) -> bool:
    """Return whether the request has a body. The web server states its length (`recsys_project.rsgi`)."""
    return request.META.get("CONTENT_LENGTH", "") not in ("", "0")


@lru_cache(MAX_CACHED_QUERIES)
def validate_query_string(serializer: Serializer[Any], query_string: str) -> Mapping[str, Any]:
    """Return the validated parameters of a query string. Raises `ValidationError` and `ParseError`."""
    parameters = parse_query_string(query_string)
    if (unknown := find_unknown_name(parameters, serializer.fields)) is not None:
        problem, advice = describe_unknown_name(unknown, serializer.fields)
        raise ValidationError({unknown: f"{problem}. {advice}"}, code="unknown-parameter")
    is_repeated = [name for name, values in parameters.lists() if len(values) > 1]
    if problems := [name for name in is_repeated if not isinstance(serializer.fields.get(name), ListField)]:
        raise ValidationError(dict.fromkeys(problems, "Give this parameter once."), code="repeated")
    return dict(serializer.run_validation(parameters))


def parse_query_string(query_string: str) -> QueryDict:
    """Return the parameters of a query string, in which names and values are percent-encoded UTF-8."""
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise ParseError(f"The query string is invalid: {error}") from None
    parameters = QueryDict(mutable=True)
    for name, value in pairs:
        parameters.appendlist(name, value)
    return parameters


def parse_body(content: bytes) -> Any:
    """Return the parsed body. Raises `ParseError` if it is not JSON in UTF-8, too deep, or gives a name twice."""
    if is_too_deep(content):
        detail = f"The body is nested deeper than {MAX_DEPTH} arrays and objects. No endpoint needs that."
        raise ParseError(detail, code="body-too-deep")
    try:
        return parse_json(content.decode())
    except ValueError as error:
        raise ParseError(f"JSON parse error - {error}") from None


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
