"""Ranking policies, one per variant. The admin edits the same versions."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from rest_framework import serializers
from rest_framework.response import Response

from access import conditional_requests
from access.inputs import Request
from access.scopes import Scope, read_write_scopes
from access.views import APIView, takes
from recommendations.api import openapi
from recommendations.contracts import Policy
from recommendations.services import policies


def build_setting_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    """Return a field for each policy setting, for the OpenAPI schema."""
    setting_fields: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
    for setting in fields(Policy):
        span, field_class = setting.metadata["range"], serializers.FloatField
        if setting.type == "int":
            field_class = serializers.IntegerField  # type: ignore[assignment]
        setting_fields[setting.name] = field_class(
            min_value=span.low, max_value=span.high, default=getattr(Policy(), setting.name), help_text=span.help
        )
    return setting_fields


PolicySettings = type(
    "PolicySettings", (serializers.Serializer,), {**build_setting_fields(), "__doc__": "The settings of a policy."}
)


class PolicyBody(serializers.Serializer):
    """A new version of a policy. The service validates the settings, as for the admin."""

    settings = serializers.DictField(help_text="Omitted settings have their default.")
    note = serializers.CharField(max_length=200, default="", allow_blank=True, help_text="Reason for this version.")


class PolicyIn(PolicyBody):
    """A new version of a policy."""

    settings = PolicySettings()  # type: ignore[assignment]


class PolicyOut(serializers.Serializer):
    """The active policy of a variant."""

    variant = serializers.SlugField()
    version = serializers.IntegerField(help_text="Also the ETag.")
    settings = PolicySettings()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()


class PoliciesOut(serializers.Serializer):
    """The active policies."""

    policies = PolicyOut(many=True)


class BasePolicyView(APIView):
    """The scopes of the policy views."""

    scopes = read_write_scopes(Scope.POLICIES_READ, Scope.POLICIES_WRITE)


class PolicyListView(BasePolicyView):
    """The list of active policies."""

    @openapi.describe_endpoint(
        responses={200: PoliciesOut},
        operation_id="list_policies",
        summary="List the active policies",
        tags=["policies"],
    )
    def get(self, request: Request) -> Response:
        """Return the active policies, ordered by variant."""
        return Response({"policies": [asdict(policy) for policy in policies.list_policies()]})


class PolicyDetailView(BasePolicyView):
    """The active policy of one variant."""

    @openapi.describe_endpoint(
        404,
        responses={200: PolicyOut, 304: None},
        parameters=[conditional_requests.IF_NONE_MATCH],
        operation_id="read_policy",
        summary="Read the active policy of a variant",
        tags=["policies"],
    )
    def get(self, request: Request, variant: str) -> Response:
        """Return the policy, with its version as ETag."""
        policy = policies.read_policy(variant=variant)
        if conditional_requests.client_has_current(request, conditional_requests.etag(policy.version)):
            return Response(status=304, headers={"ETag": conditional_requests.etag(policy.version)})
        return policy_response(policy)

    @openapi.describe_endpoint(
        400,
        412,
        428,
        responses={200: PolicyOut, 201: PolicyOut},
        request=PolicyIn,
        parameters=[conditional_requests.IF_MATCH],
        operation_id="put_policy",
        summary="Replace the policy of a variant",
        tags=["policies"],
    )
    @takes(body=PolicyBody())
    def put(self, request: Request, variant: str) -> Response:
        """
        Write a new version and activate it (200, or 201 for the first). Every process uses it within two seconds.

        Omitted settings have their default. To create the first policy of a variant, send `If-None-Match: *` instead
        of If-Match.
        """
        is_new = request.headers.get("If-None-Match", "").strip() == "*"
        version = 0 if is_new else conditional_requests.expected_version(request)
        return policy_response(
            policies.put_policy(variant=variant, version=version, **request.inputs.body), 201 if is_new else 200
        )


def policy_response(policy: policies.ServedPolicy, status: int = 200) -> Response:
    """Return a policy as a response with its ETag."""
    return Response(asdict(policy), status=status, headers={"ETag": conditional_requests.etag(policy.version)})
