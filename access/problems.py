"""Problem details (RFC 9457): their fields, and serializers that describe them in the OpenAPI schema."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from structlog.contextvars import get_contextvars

CONTENT_TYPE = "application/problem+json"


def problem_body(*, status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """Return a problem as JSON fields, with the current request id."""
    code = code.replace("_", "-")
    problem: dict[str, Any] = {
        "type": f"urn:recsys:problem:{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if request_id := get_contextvars().get("request_id"):
        problem["request_id"] = str(request_id)
    return problem | {"errors": errors} if errors else problem


class ErrorItem(serializers.Serializer[dict[str, object]]):
    """One invalid value."""

    detail = serializers.CharField()
    code = serializers.CharField()
    pointer = serializers.CharField(required=False, help_text="JSON pointer into the body.")
    parameter = serializers.CharField(required=False, help_text="Name of the query parameter.")


class Problem(serializers.Serializer[dict[str, object]]):
    """An error as problem details (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable, for use in programs.")
    request_id = serializers.CharField(required=False, help_text="The request id, which the logs contain too.")
    errors = ErrorItem(many=True, required=False)  # type: ignore[assignment]  # hides DRF's property
