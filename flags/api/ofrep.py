"""
OpenFeature's remote evaluation protocol (OFREP 0.3): web and mobile clients learn what a unit gets, never the rules.

Its errors have a form of their own, which its clients read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from flags.api.permissions import READ_SCOPE, BaseFlagView
from flags.documents import ValueField
from flags.provider import build_metadata
from flags.services.evaluate import Evaluation, evaluate_all_details, evaluate_details
from flags.snapshot import flag_snapshot


class EvaluateIn(serializers.Serializer):
    context = serializers.DictField(  # type: ignore[assignment]
        help_text="targetingKey: the unit's id; and what else is known of it."
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
    """The context cannot be used; the code is the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_context(request: Request) -> tuple[str, Mapping[str, Any]]:
    """Return the unit's id and what else is said of it, or raise `ContextError`."""
    try:
        context = request.data.get("context") if isinstance(request.data, dict) else None
    except ParseError as error:
        raise ContextError("PARSE_ERROR", str(error.detail)) from error
    if not isinstance(context, dict):
        raise ContextError("INVALID_CONTEXT", "Give an object under context.")
    unit_id = context.get("targetingKey")
    if not isinstance(unit_id, str) or not unit_id:
        raise ContextError("TARGETING_KEY_MISSING", "Give the unit's id, a text, as targetingKey.")
    return unit_id, {name: value for name, value in context.items() if name != "targetingKey"}


def serialize_evaluation(key: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluated flag as the protocol has it."""
    return {
        "key": key,
        "value": evaluation.answer.value,
        "reason": evaluation.reason,
        "variant": evaluation.variant_name,
        "metadata": build_metadata(evaluation),
    }


def failure_response(code: str, message: str, *, status: int, **key: str) -> Response:
    """Return an error as the protocol has it."""
    return Response(key | {"errorCode": code, "errorDetails": message}, status=status)


class BaseEvaluateView(BaseFlagView):
    """What both addresses share."""

    is_read_only = True
    scopes = {"POST": READ_SCOPE}

    def requested_member_ids(self, request: Request) -> list[object]:
        """Return whom the request is about: a member's token asks for that member only."""
        try:
            return [parse_context(request)[0]]
        except ContextError:
            return []


class EvaluateFlagView(BaseEvaluateView):
    """One flag."""

    @extend_schema(
        operation_id="evaluate_flag",
        tags=["ofrep"],
        summary="What one flag is worth for a unit",
        request=EvaluateIn,
        responses={200: EvaluatedFlag, 400: EvaluationFailure, 404: EvaluationFailure},
    )
    def post(self, request: Request, key: str) -> Response:
        """Return its value, variant and reason."""
        try:
            unit_id, said = parse_context(request)
        except ContextError as error:
            return failure_response(error.code, str(error), status=400, key=key)
        found = evaluate_details(flag_snapshot.current(), key, unit_id, said)
        if found is None:
            return failure_response("FLAG_NOT_FOUND", f"There is no flag {key!r}.", status=404, key=key)
        return Response(serialize_evaluation(key, found))


class EvaluateFlagsView(BaseEvaluateView):
    """All flags at once."""

    @extend_schema(
        operation_id="evaluate_flags",
        tags=["ofrep"],
        summary="What every flag is worth for a unit",
        request=EvaluateIn,
        responses={200: EvaluatedFlags, 304: None, 400: EvaluationFailure},
    )
    def post(self, request: Request) -> Response:
        """Return all of them; 304 if the client's ETag is that of these flags and this context."""
        try:
            unit_id, said = parse_context(request)
        except ContextError as error:
            return failure_response(error.code, str(error), status=400)
        compiled = flag_snapshot.current()
        body = {
            "flags": [
                serialize_evaluation(key, one) for key, one in evaluate_all_details(compiled, unit_id, said).items()
            ]
        }
        etag = compute_etag(compiled.digest, unit_id, said, body)
        if request.headers.get("If-None-Match") == etag:
            return Response(status=304, headers={"ETag": etag})
        return Response(body, headers={"ETag": etag})


def compute_etag(digest: str, unit_id: str, given_attributes: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Return the ETag of these flags for this context; the body stands in for what readers know of the unit."""
    everything = json.dumps([digest, unit_id, given_attributes, body], sort_keys=True, default=str)
    return f'"{hashlib.sha256(everything.encode()).hexdigest()[:32]}"'
