"""Reads the query of a request."""

from functools import cache, lru_cache
from typing import Any

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.serializers import Serializer

MAX_CACHED_QUERIES = 1_000
"""Queries that a process remembers as checked: most requests ask as others did. Changes the speed."""
MAX_CACHED_QUERY_LENGTH = 200
"""Longer ones name posts or a place in a feed, and do not come again."""


def parse_query_parameters(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the checked query parameters of *request*."""
    if len(asked := request.META.get("QUERY_STRING", "")) <= MAX_CACHED_QUERY_LENGTH:
        return dict(validate_query_string(serializer, asked))
    return dict(shared_serializer(serializer).run_validation(request.query_params))


@lru_cache(MAX_CACHED_QUERIES)
def validate_query_string(serializer: type[Serializer[Any]], query_string: str) -> dict[str, Any]:
    """Return the checked parameters of a query string. Nobody writes to what they hold."""
    return dict(shared_serializer(serializer).run_validation(QueryDict(query_string)))


@cache
def shared_serializer(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Return one serializer for all requests: it keeps nothing of a request, and making its fields costs the most."""
    return serializer()
