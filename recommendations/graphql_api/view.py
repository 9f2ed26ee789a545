"""
The GraphQL endpoint: one POST, with the authentication, permissions and rate limits of the REST API.

Errors have a message, the same code as in the REST API, and the request id. An unexpected error is logged under that
request id; its details are not sent.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from drf_spectacular.utils import extend_schema
from graphql import GraphQLError
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import get_contextvars

from access.scopes import Scope
from recommendations.api.exception_handler import convert_to_problem
from recommendations.api.problems import Problem
from recommendations.graphql_api.schema import build_schema
from recommendations.services.errors import ServiceError
from recommendations.storable_text import find_storage_problem

log = logging.getLogger(__name__)

REQUEST_FIELDS = {"query": str, "variables": dict, "operationName": str}


class GraphQLView(APIView):
    """GraphQL queries and mutations. The endpoint requires feeds:read, and each field requires its own scope."""

    scopes = {"POST": Scope.FEEDS_READ}

    def requested_member_ids(self, request: Request) -> list[object]:
        """Return no member ids: each field checks its own (`schema.require_scope`)."""
        return []

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        """Execute one operation. Status 200 if the query is valid, even if some fields have errors."""
        query, variables, operation = parse_request(request.data)
        result = build_schema(settings.DEBUG or settings.ENV.graphql_introspection).execute_sync(
            query, variable_values=variables, operation_name=operation, context_value={"request": request}
        )
        content: dict[str, Any] = {"data": result.data}
        if result.errors:
            content["errors"] = [serialize_error(error) for error in result.errors]
        is_invalid = result.data is None and result.errors and is_request_error(result.errors)
        return Response(content, status=400 if is_invalid else 200)


def parse_request(body: object) -> tuple[str, dict[str, Any] | None, str | None]:
    """Return the query, its variables and the operation name. Raises `Problem` for any other body, such as a list."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise Problem('Send {"query": "…", "variables": {…}}.', status=400, code="invalid-request", pointer="/query")
    for name, value in body.items():
        if name in REQUEST_FIELDS and value is not None and not isinstance(value, REQUEST_FIELDS[name]):
            detail = f"{name} must be {'an object' if name == 'variables' else 'a string'}."
            raise Problem(detail, status=400, code="invalid-request", pointer=f"/{name}")
        if problem := find_storage_problem(value):
            raise Problem(f"{name} {problem}.", status=400, code="invalid-request", pointer=f"/{name}")
    return body["query"], body.get("variables"), body.get("operationName")


def is_request_error(errors: list[GraphQLError]) -> bool:
    """Return whether the query itself is invalid, so that no field was resolved."""
    return all(error.path is None for error in errors)


def serialize_error(error: GraphQLError) -> dict[str, Any]:
    """Return an error as JSON fields."""
    cause = error.original_error
    content: dict[str, Any] = {**error.formatted}
    extensions: dict[str, Any] = {"code": "invalid-query"} | dict(error.extensions or {})
    if isinstance(cause, ServiceError):
        extensions["code"] = cause.code
        if pointer := getattr(cause, "pointer", ""):
            extensions["pointer"] = pointer
    elif isinstance(cause, OperationalError | InterfaceError):
        problem = convert_to_problem(cause)
        content["message"], extensions["code"] = str(problem), problem.detail.code  # type: ignore[attr-defined]
    elif isinstance(cause, PermissionDenied):
        content["message"], extensions["code"] = str(cause.detail), str(cause.get_codes())
    elif cause is not None and not isinstance(cause, GraphQLError) and error.path is not None:
        log.error("graphql_field_failed", exc_info=cause, extra={"field": str(error.path[0])})
        content["message"], extensions["code"] = (
            "An internal error occurred. It is logged under the request id.",
            "internal-error",
        )
    extensions["request_id"] = str(get_contextvars()["request_id"])
    return content | {"extensions": extensions}
