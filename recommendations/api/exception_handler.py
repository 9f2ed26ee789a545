"""Turns every error on its way out into a problem; named in the settings as the API's exception handler."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import Error, ErrorResponse
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response

from recommendations.api.problems import CONTENT_TYPE, Problem, body_too_large_problem, build_error_items, problem_body
from recommendations.services.errors import ServiceError

METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def convert_to_problem(error: Exception) -> Exception:
    """Return *error* as a `Problem` if it is one that a client can act on; else as it is."""
    if isinstance(error, ServiceError):
        pointer = getattr(error, "pointer", "")
        return Problem(str(error), status=error.status, code=error.code, pointer=pointer)
    if isinstance(error, RequestDataTooBig):
        return body_too_large_problem()
    if isinstance(error, OperationalError | InterfaceError):
        return Problem(
            "The database cannot be reached. Nothing was changed; try again.", status=503, code="database-unavailable"
        )
    return error


class ProblemFormatter(ExceptionFormatter):
    """Shapes what the handler hands over."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        request = self.context.get("request")
        in_body = request is None or request.method not in METHODS_WITHOUT_BODY
        errors, status = error_response.errors, self.exc.status_code
        if error_response.type == "validation_error":
            count = f"{len(errors)} values" if len(errors) > 1 else "A value"
            return problem_body(
                status=status,
                code="invalid-request",
                detail=f"{count} cannot be used; see errors.",
                errors=build_error_items(errors, in_body=in_body),
            )
        first = errors[0]
        pointer = getattr(self.exc, "pointer", "")
        wrong = [Error(first.code, first.detail, pointer)] if pointer else []
        items = build_error_items(wrong, in_body=in_body)
        return problem_body(status=status, code=first.code, detail=first.detail, errors=items)


class ProblemHandler(ExceptionHandler):
    """Turns refusals of services into problems, and answers with their content type."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        known = convert_to_problem(super().convert_known_exceptions(exc))
        if isinstance(known, NotFound):
            return NotFound("There is nothing at this address. The addresses are listed at /api/docs/.")
        return known

    def get_response(self, exc: APIException, data: dict[str, Any]) -> Response:
        return Response(data, status=exc.status_code, headers=self.get_headers(exc), content_type=CONTENT_TYPE)
