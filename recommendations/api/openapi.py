"""OpenAPI descriptions of single endpoints. recsys_project/openapi.py adds what all endpoints share."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter, extend_schema

from access.problems import CONTENT_TYPE, Problem

F = TypeVar("F", bound=Callable[..., Any])

LANGUAGE_HEADERS = [
    OpenApiParameter(
        "Accept-Language",
        str,
        OpenApiParameter.HEADER,
        description="Languages of the sentences in the response, such as `de-AT, en;q=0.5`. The service speaks English "
        "and German. If the header names neither, the first of the member's languages that is one of them is used, "
        "and then English.",
    ),
    OpenApiParameter(
        "Content-Language", str, OpenApiParameter.HEADER, response=[200], description="Language of the sentences."
    ),
]
"""Headers of an operation whose response has sentences that a member reads, such as reasons."""


def describe_endpoint(*statuses: int, responses: dict[int, Any], **kwargs: Any) -> Callable[[F], F]:
    """Return `extend_schema` with *responses*, and a problem for each of *statuses* and for 503."""
    return extend_schema(
        responses=responses | {(status, CONTENT_TYPE): Problem for status in (*statuses, 503)}, **kwargs
    )
