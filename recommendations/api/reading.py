"""Reads the query of a request."""

from functools import cache, lru_cache
from typing import Any

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.serializers import Serializer

KNOWN = 1_000
"""Queries that a process remembers as checked: most requests ask as others did. Changes the speed."""
LENGTH = 200
"""Longer ones name posts or a place in a feed, and do not come again."""


def query_of(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the checked query parameters of *request*."""
    if len(asked := request.META.get("QUERY_STRING", "")) <= LENGTH:
        return dict(checked(serializer, asked))
    return dict(checker(serializer).run_validation(request.query_params))


@lru_cache(KNOWN)
def checked(serializer: type[Serializer[Any]], asked: str) -> dict[str, Any]:
    """Return the checked parameters of a query string. Nobody writes to what they hold."""
    return dict(checker(serializer).run_validation(QueryDict(asked)))


@cache
def checker(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Return one serializer for all requests: it keeps nothing of a request, and making its fields costs the most."""
    return serializer()
