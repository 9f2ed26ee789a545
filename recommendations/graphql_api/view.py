"""
The address of GraphQL: one POST. Who may use it, and how often, is decided as for any address of the REST API.

Errors say what was wrong and carry the code that REST gives, and the request's id. What nobody foresaw says nothing of
its inside: it is in the log under that id.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from graphql import GraphQLError
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import get_contextvars

from access.scopes import Scope
from recommendations.api.problems import Problem
from recommendations.graphql_api.schema import build_schema
from recommendations.services.errors import ServiceError

log = logging.getLogger(__name__)

REQUEST_FIELDS = {"query": str, "variables": dict, "operationName": str}


class GraphQLView(APIView):
    """Questions and changes in GraphQL. Reading feeds opens the door; each field asks for the scope that it needs."""

    scopes = {"POST": Scope.FEEDS_READ}

    def requested_member_ids(self, request: Request) -> list[object]:
        """Return nobody: each field says whom it is about (`schema.may`)."""
        return []

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        """Answer one question; 200 if it could be understood, even where parts of it could not be answered."""
        query, variables, operation = parse_request(request.data)
        found = build_schema(settings.DEBUG or settings.ENV.graphql_introspection).execute_sync(
            query, variable_values=variables, operation_name=operation, context_value={"request": request}
        )
        answer: dict[str, Any] = {"data": found.data}
        if found.errors:
            answer["errors"] = [serialize_error(error) for error in found.errors]
        return Response(
            answer, status=400 if found.data is None and found.errors and is_request_error(found.errors) else 200
        )


def parse_request(body: object) -> tuple[str, dict[str, Any] | None, str | None]:
    """Return the query, its variables and the operation to run; refuse anything else, a list of questions too."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise Problem('Send {"query": "…", "variables": {…}}.', status=400, code="invalid-request", pointer="/query")
    for name, value in body.items():
        if name in REQUEST_FIELDS and value is not None and not isinstance(value, REQUEST_FIELDS[name]):
            detail = f"{name} must be {'an object' if name == 'variables' else 'a text'}."
            raise Problem(detail, status=400, code="invalid-request", pointer=f"/{name}")
    return body["query"], body.get("variables"), body.get("operationName")


def is_request_error(errors: list[GraphQLError]) -> bool:
    """Return whether the question itself was wrong: no field was asked."""
    return all(error.path is None for error in errors)


def serialize_error(error: GraphQLError) -> dict[str, Any]:
    """Return an error as it is sent."""
    cause = error.original_error
    shape: dict[str, Any] = {**error.formatted}
    extensions: dict[str, Any] = {"code": "invalid-query"} | dict(error.extensions or {})
    if isinstance(cause, ServiceError):
        extensions["code"] = cause.code
        if pointer := getattr(cause, "pointer", ""):
            extensions["pointer"] = pointer
    elif isinstance(cause, PermissionDenied):
        shape["message"], extensions["code"] = str(cause.detail), str(cause.get_codes())
    elif cause is not None and not isinstance(cause, GraphQLError) and error.path is not None:
        log.error("graphql_failed", exc_info=cause, extra={"field": str(error.path[0])})
        shape["message"], extensions["code"] = "Something went wrong here; it is in our log.", "internal-error"
    if request_id := get_contextvars().get("request_id"):
        extensions["request_id"] = str(request_id)
    return shape | {"extensions": extensions}
