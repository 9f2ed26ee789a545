"""OpenAPI descriptions of single endpoints. recsys_project/openapi.py adds what all endpoints share."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema

from access.problems import CONTENT_TYPE, Problem

F = TypeVar("F", bound=Callable[..., Any])


def describe_endpoint(*statuses: int, responses: dict[int, Any], **kwargs: Any) -> Callable[[F], F]:
    """Return `extend_schema` with *responses*, and a problem for each of *statuses* and for 503."""
    return extend_schema(
        responses=responses | {(status, CONTENT_TYPE): Problem for status in (*statuses, 503)}, **kwargs
    )
