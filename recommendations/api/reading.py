"""Reads the query of a request."""

from functools import cache
from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import Serializer


def query_of(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the checked query parameters of *request*."""
    return dict(checker(serializer).run_validation(request.query_params))


@cache
def checker(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Return one serializer for all requests: it keeps nothing of a request, and making its fields costs the most."""
    return serializer()
