"""The exception handler of the API (named in the settings): converts every error to a problem (RFC 9457)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import Error, ErrorResponse
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.response import Response

from access.problems import CONTENT_TYPE, problem_body
from flags.services.errors import FlagError, InvalidChangeError
from monitoring.transactions import is_write_conflict
from recommendations.api.problems import Problem, body_too_large_problem, build_error_items
from recommendations.services.errors import ServiceError

METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def convert_to_problem(error: Exception) -> Exception:
    """Return *error* as a `Problem` if the client can act on it, else unchanged."""
    if isinstance(error, ServiceError):
        pointer = getattr(error, "pointer", "")
        return Problem(str(error), status=error.status, code=error.code, pointer=pointer)
    if isinstance(error, InvalidChangeError):
        return ValidationError(error.detail)
    if isinstance(error, FlagError):
        return Problem(str(error), status=error.status_code, code=error.code)
    if isinstance(error, RequestDataTooBig):
        return body_too_large_problem()
    if isinstance(error, SuspiciousOperation):
        return Problem("The request is invalid, such as by too many parameters.", status=400, code="parse-error")
    if is_write_conflict(error):
        detail = "Other requests changed the same data at the same moment. Nothing was changed. Try again."
        return Problem(detail, status=503, code="write-conflict")
    if isinstance(error, OperationalError | InterfaceError):
        return Problem(
            "The database is unavailable. Nothing was changed. Try again.", status=503, code="database-unavailable"
        )
    return error


class ProblemFormatter(ExceptionFormatter):
    """Formats the errors of an exception as the fields of a problem."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        request = self.context.get("request")
        in_body = request is None or request.method not in METHODS_WITHOUT_BODY
        errors, status = error_response.errors, self.exc.status_code
        if error_response.type == "validation_error":
            subject = f"{len(errors)} values are" if len(errors) > 1 else "A value is"
            return problem_body(
                status=status,
                code="invalid-request",
                detail=f"{subject} invalid; see errors.",
                errors=build_error_items(errors, in_body=in_body),
            )
        first = errors[0]
        pointer = getattr(self.exc, "pointer", "")
        located = [Error(first.code, first.detail, pointer)] if pointer else []
        items = build_error_items(located, in_body=in_body)
        return problem_body(status=status, code=first.code, detail=first.detail, errors=items)


class ProblemHandler(ExceptionHandler):
    """Converts errors of services to problems, and responds with the content type of problems."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        converted = convert_to_problem(super().convert_known_exceptions(exc))
        if isinstance(converted, NotFound):
            return NotFound("This URL does not exist. See /api/docs/ for the endpoints.")
        return converted

    def get_response(self, exc: APIException, data: dict[str, Any]) -> Response:
        return Response(data, status=exc.status_code, headers=self.get_headers(exc), content_type=CONTENT_TYPE)
