"""Reads the query of a request."""

from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import Serializer


def query_of(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the checked query parameters of *request*."""
    checked = serializer(data=request.query_params)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
