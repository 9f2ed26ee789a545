"""What the OpenAPI page says of an address beside what it says of all (recsys_project/openapi.py)."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema

from access.problems import Problem
from recommendations.api.problems import CONTENT_TYPE

F = TypeVar("F", bound=Callable[..., Any])


def describe_endpoint(*statuses: int, responses: dict[int, Any], **kwargs: Any) -> Callable[[F], F]:
    """Return `extend_schema` with these *answers* and the problems of these *statuses*."""
    return extend_schema(
        responses=responses | {(status, CONTENT_TYPE): Problem for status in (*statuses, 503)}, **kwargs
    )
