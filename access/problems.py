"""Serializers that describe problem details (RFC 9457) in the OpenAPI schema."""

from __future__ import annotations

from rest_framework import serializers


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
