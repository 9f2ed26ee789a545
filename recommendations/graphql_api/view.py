"""
The GraphQL endpoint: one POST, with the authentication, permissions and rate limits of the REST API.

Errors have a message, the same code as in the REST API, and the request id. An unexpected error is logged under that
request id; its details are not sent.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from drf_spectacular.utils import extend_schema
from graphql import GraphQLError
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from strawberry.types import ExecutionResult
from structlog.contextvars import get_contextvars

from access import throttles
from access.callers import Caller
from access.inputs import Inputs, Request
from access.permissions import session_may
from access.scopes import STAFF_PERMISSIONS, Scope
from access.views import APIView, takes
from recommendations.api.exception_handler import convert_to_problem
from recommendations.api.problems import Problem
from recommendations.graphql_api.cost import Operation, read_operation
from recommendations.graphql_api.schema import build_schema
from recommendations.services.errors import ServiceError
from recommendations.services.work import MAX_JOB_ITEMS
from values.names import describe_unknown_name, find_unknown_name
from values.text import storage_problem

log = logging.getLogger(__name__)

REQUEST_FIELDS = {"query": str, "variables": dict, "operationName": str, "extensions": dict}
MAX_CACHED_RESULTS = 16
"""Results of introspection that a process caches: tools send the same query. Changes the speed, not the result."""


def charge(request: Request, operation: Operation) -> None:
    """Count the operation's units beyond the one that the request counts anyway. Raises `Throttled`."""
    caller = throttles.limited_caller(request)
    # A member's writes count against another limit, where the request itself has not been counted.
    is_member_write = operation.is_mutation and isinstance(caller, Caller) and caller.member_id is not None
    earlier = 0 if is_member_write else 1
    if caller and operation.units > earlier:
        units = operation.units - earlier
        throttles.check_rate_limit(request, caller, units=units, earlier=earlier, is_write=is_member_write)


def may_introspect(request: Request) -> bool:
    """Return whether the request may read the schema. Staff may, for the console; keys and tokens by setting only."""
    is_for_all = settings.DEBUG or settings.ENV.graphql_introspection
    return is_for_all or session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ])


def execute(
    query: str, variables: dict[str, Any], name: str | None, operation: Operation, request: Request
) -> ExecutionResult:
    """Execute the operation, which is within the limits."""
    has_introspection = may_introspect(request)
    if operation.is_introspection:
        return introspect(query, json.dumps(variables), name, has_introspection)
    context = {"request": request, "document": operation.document}
    return build_schema(has_introspection).execute_sync(
        query, variable_values=variables, operation_name=name, context_value=context
    )


@lru_cache(MAX_CACHED_RESULTS)
def introspect(query: str, variables: str, name: str | None, has_introspection: bool) -> ExecutionResult:
    """Execute an operation that reads only the schema. *variables* are JSON, for the cache."""
    values = json.loads(variables)
    context = {"document": read_operation(query, values, name).document}
    return build_schema(has_introspection).execute_sync(
        query, variable_values=values, operation_name=name, context_value=context
    )


def parse_request(body: object) -> tuple[str, dict[str, Any], str | None]:
    """Return the query, its variables and the operation name. Raises `Problem` for any other body, such as a list."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise Problem('Send {"query": "…", "variables": {…}}.', status=400, code="invalid-request", pointer="/query")
    if (unknown := find_unknown_name(body, REQUEST_FIELDS)) is not None:
        problem, advice = describe_unknown_name(unknown, REQUEST_FIELDS)
        raise Problem(f"{problem}. {advice}", status=400, code="invalid-request", pointer=f"/{unknown}")
    for name, value in body.items():
        if value is None:
            continue
        if not isinstance(value, REQUEST_FIELDS[name]):
            detail = f"{name} must be {'an object' if name == 'variables' else 'a string'}."
            raise Problem(detail, status=400, code="invalid-request", pointer=f"/{name}")
        if has_long_list(value):
            detail = f"{name} has a list of more than {MAX_JOB_ITEMS:,} items. No argument accepts it."
            raise Problem(detail, status=400, code="invalid-request", pointer=f"/{name}")
    if unstorable := storage_problem(body["query"]):
        raise Problem(f"query {unstorable}.", status=400, code="invalid-request", pointer="/query")
    return body["query"], body.get("variables") or {}, body.get("operationName")


def has_long_list(value: object) -> bool:
    """Return whether a JSON value has a list that no argument accepts. Lengths are read before items."""
    if isinstance(value, dict):
        return any(map(has_long_list, value.values()))
    return isinstance(value, list) and (len(value) > MAX_JOB_ITEMS or any(map(has_long_list, value)))


def get_no_member_ids(_inputs: Inputs) -> list[object]:
    """Return no member ids: each field checks its own arguments (`schema.require_scope`)."""
    return []


class GraphQLView(APIView):
    """GraphQL queries and mutations. The endpoint requires feeds:read, and each field requires its own scope."""

    scopes = {"POST": Scope.FEEDS_READ}

    items_per_unit = None
    """`charge` counts the lists of each field: two fields may use the same variable."""

    @extend_schema(exclude=True)
    @takes(body=parse_request, member_ids=get_no_member_ids)
    def post(self, request: Request) -> Response:
        """Execute one operation. Status 200 if the query is valid, even if some fields have errors."""
        query, variables, name = request.inputs.body
        try:
            operation = read_operation(query, variables, name)
        except GraphQLError as error:
            return Response({"data": None, "errors": [serialize_error(error)]}, status=400)
        charge(request, operation)
        result = execute(query, variables, name, operation, request)
        content: dict[str, Any] = {"data": result.data}
        if result.errors:
            content["errors"] = [serialize_error(error) for error in result.errors]
        is_invalid = result.data is None and result.errors and is_request_error(result.errors)
        return Response(content, status=400 if is_invalid else 200, headers={"Vary": "Accept-Language"})


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
