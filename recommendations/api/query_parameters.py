"""Validation of query parameters."""

from functools import cache, lru_cache
from typing import Any

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.serializers import Serializer

MAX_CACHED_QUERIES = 1_000
"""Validated query strings that a process caches: most requests repeat one. Changes the speed, not the result."""
MAX_CACHED_QUERY_LENGTH = 200
"""Longer query strings contain post ids or a cursor and are rarely repeated, so they are not cached."""


def parse_query_parameters(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the validated query parameters of *request*. Raises `ValidationError`."""
    if len(query_string := request.META.get("QUERY_STRING", "")) <= MAX_CACHED_QUERY_LENGTH:
        return dict(validate_query_string(serializer, query_string))
    return dict(shared_serializer(serializer).run_validation(request.query_params))


@lru_cache(MAX_CACHED_QUERIES)
def validate_query_string(serializer: type[Serializer[Any]], query_string: str) -> dict[str, Any]:
    """Return the validated parameters of a query string. Callers must not modify the values: they are cached."""
    return dict(shared_serializer(serializer).run_validation(QueryDict(query_string)))


@cache
def shared_serializer(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Return one serializer for all requests. Building its fields is the largest cost, and it stores no request."""
    return serializer()
