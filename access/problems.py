"""How an error looks in the description of the API, wherever it comes from: as RFC 9457 has it."""

from __future__ import annotations

from rest_framework import serializers


class ErrorItem(serializers.Serializer[dict[str, object]]):
    """One wrong value."""

    detail = serializers.CharField()
    code = serializers.CharField()
    pointer = serializers.CharField(required=False, help_text="JSON pointer into the body.")
    parameter = serializers.CharField(required=False, help_text="Name of the query parameter.")


class Problem(serializers.Serializer[dict[str, object]]):
    """An error, as RFC 9457 has it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable; programs may rely on it.")
    request_id = serializers.CharField(required=False, help_text="Of this answer, as the logs have it.")
    errors = ErrorItem(many=True, required=False)  # type: ignore[assignment]  # it hides DRF's property
