"""
OpenFeature's remote evaluation protocol (OFREP 0.3). Web and mobile clients get values for a unit, never the rules.

Errors have the protocol's own format, because its clients parse them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from access.conditional_requests import client_has_current
from access.inputs import Inputs, Request
from access.views import takes
from flags.api.permissions import READ_SCOPE, BaseFlagView
from flags.provider import build_metadata
from flags.serializers import ValueField
from flags.services.evaluate import Evaluation, evaluate_all_details, evaluate_details
from flags.snapshot import flag_snapshot
from values.problems import InvalidValueError
from values.types import Id, read


class EvaluateIn(serializers.Serializer):
    context = serializers.DictField(  # type: ignore[assignment]
        help_text="targetingKey: the unit's id. Other keys: attributes of the unit."
    )


class EvaluatedFlag(serializers.Serializer):
    key = serializers.CharField()
    value = ValueField()
    reason = serializers.CharField()
    variant = serializers.CharField()
    metadata = serializers.DictField()


class EvaluatedFlags(serializers.Serializer):
    flags = EvaluatedFlag(many=True)


class EvaluationFailure(serializers.Serializer):
    key = serializers.CharField(required=False)
    errorCode = serializers.CharField()  # noqa: N815 -- the protocol's name
    errorDetails = serializers.CharField()  # noqa: N815


class ContextError(Exception):
    """The evaluation context is invalid; `code` is the protocol's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """The unit that flags are evaluated for."""

    unit_id: str
    attributes: Mapping[str, Any]


def parse_context(content: object) -> EvaluationContext:
    """Return the context in a body. Raises `ContextError`."""
    context = content.get("context") if isinstance(content, dict) else None
    if not isinstance(context, dict):
        raise ContextError("INVALID_CONTEXT", "Give an object as context.")
    unit_id = context.get("targetingKey")
    if not isinstance(unit_id, str) or not unit_id:
        raise ContextError("TARGETING_KEY_MISSING", "Give the unit's id as a string in targetingKey.")
    try:
        read(Id, unit_id)
    except InvalidValueError as error:
        raise ContextError("INVALID_CONTEXT", f"targetingKey: {error}") from None
    return EvaluationContext(unit_id, {name: value for name, value in context.items() if name != "targetingKey"})


def get_unit_ids(inputs: Inputs) -> list[object]:
    """Return the unit. A member's own token may evaluate only for that member."""
    return [inputs.body.unit_id]


def serialize_evaluation(key: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluated flag in the protocol's format."""
    return {
        "key": key,
        "value": evaluation.answer.value,
        "reason": evaluation.reason,
        "variant": evaluation.variant_name,
        "metadata": build_metadata(evaluation),
    }


def failure_response(code: str, message: str, *, status: int, **key: str) -> Response:
    """Return an error in the protocol's format."""
    return Response(key | {"errorCode": code, "errorDetails": message}, status=status)


class BaseEvaluateView(BaseFlagView):
    """The base of both OFREP endpoints."""

    is_read_only = True
    scopes = {"POST": READ_SCOPE}
    items_per_unit = None
    """The view reads the body, because an invalid body gets an error in the protocol's format."""

    def handle_exception(self, exc: Exception) -> Response:
        """Return the response for an error, in the protocol's format if the body is invalid."""
        if isinstance(exc, ParseError):
            exc = ContextError("PARSE_ERROR", str(exc.detail))
        if isinstance(exc, ContextError):
            key = {"key": self.kwargs["key"]} if "key" in self.kwargs else {}
            return failure_response(exc.code, str(exc), status=400, **key)
        return super().handle_exception(exc)


class EvaluateFlagView(BaseEvaluateView):
    """One flag."""

    @extend_schema(
        operation_id="evaluate_flag",
        tags=["ofrep"],
        summary="Evaluate one flag for a unit",
        request=EvaluateIn,
        responses={200: EvaluatedFlag, 400: EvaluationFailure, 404: EvaluationFailure},
    )
    @takes(body=parse_context, member_ids=get_unit_ids)
    def post(self, request: Request, key: str) -> Response:
        """Return the flag's value, variant and reason."""
        context = request.inputs.body
        evaluation = evaluate_details(flag_snapshot.current(), key, context.unit_id, context.attributes)
        if evaluation is None:
            return failure_response("FLAG_NOT_FOUND", f"There is no flag {key!r}.", status=404, key=key)
        return Response(serialize_evaluation(key, evaluation))


class EvaluateFlagsView(BaseEvaluateView):
    """All flags."""

    @extend_schema(
        operation_id="evaluate_flags",
        tags=["ofrep"],
        summary="Evaluate every flag for a unit",
        request=EvaluateIn,
        responses={200: EvaluatedFlags, 304: None, 400: EvaluationFailure},
    )
    @takes(body=parse_context, member_ids=get_unit_ids)
    def post(self, request: Request) -> Response:
        """Return all flags; 304 if the client's ETag matches these flags and this context."""
        context, compiled = request.inputs.body, flag_snapshot.current()
        evaluations = evaluate_all_details(compiled, context.unit_id, context.attributes)
        body = {"flags": [serialize_evaluation(key, evaluation) for key, evaluation in evaluations.items()]}
        etag = compute_etag(compiled.digest, context.unit_id, context.attributes, body)
        if client_has_current(request, etag):
            return Response(status=304, headers={"ETag": etag})
        return Response(body, headers={"ETag": etag})


def compute_etag(digest: str, unit_id: str, given_attributes: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Return the ETag of the flags for this context. The body covers attributes that are read for the unit."""
    content = json.dumps([digest, unit_id, given_attributes, body], sort_keys=True, default=str)
    return f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
