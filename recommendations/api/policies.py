"""Ranking policies: what the feeds of each variant are ranked by. The same versions as in the admin."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from access import conditional_requests
from access.scopes import Scope, read_write_scopes
from recommendations.api import openapi
from recommendations.contracts import Policy
from recommendations.services import policies


def build_setting_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    """Return a field for each setting of a policy, as the OpenAPI page shows it."""
    found: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
    for one in fields(Policy):
        span, kind = one.metadata["range"], serializers.FloatField
        if one.type == "int":
            kind = serializers.IntegerField  # type: ignore[assignment]
        found[one.name] = kind(
            min_value=span.low, max_value=span.high, default=getattr(Policy(), one.name), help_text=span.help
        )
    return found


PolicySettings = type(
    "PolicySettings", (serializers.Serializer,), {**build_setting_fields(), "__doc__": "The settings."}
)


class PolicyBody(serializers.Serializer):
    """A new version of a policy. The service checks the settings, as it does for the admin."""

    settings = serializers.DictField(help_text="Those that are left out have their default.")
    note = serializers.CharField(max_length=200, default="", allow_blank=True, help_text="Why this version.")


class PolicyIn(PolicyBody):
    """A new version of a policy."""

    settings = PolicySettings()  # type: ignore[assignment]


class PolicyOut(serializers.Serializer):
    """The policy that a variant is ranked by."""

    variant = serializers.SlugField()
    version = serializers.IntegerField(help_text="Its ETag, too.")
    settings = PolicySettings()
    note = serializers.CharField()
    created_at = serializers.DateTimeField()


class PoliciesOut(serializers.Serializer):
    """The policies that are served."""

    policies = PolicyOut(many=True)


class MayChangePolicies(BasePermission):
    """Staff change policies if they may in the admin; keys by their scope."""

    message = "Your role does not let you change ranking policies."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS or not request.user.is_authenticated:
            return True
        return bool(request.user.has_perm("recommendations.add_rankingpolicy"))


class BasePolicyView(APIView):
    """What the addresses of policies share."""

    scopes = read_write_scopes(Scope.POLICIES_READ, Scope.POLICIES_WRITE)
    permission_classes = [*api_settings.DEFAULT_PERMISSION_CLASSES, MayChangePolicies]  # type: ignore[list-item]


class PolicyListView(BasePolicyView):
    """Every policy that is served."""

    @openapi.describe_endpoint(
        responses={200: PoliciesOut}, operation_id="policies", summary="The policies that are served", tags=["policies"]
    )
    def get(self, request: Request) -> Response:
        """Return them by variant."""
        return Response({"policies": [asdict(policy) for policy in policies.list_policies()]})


class PolicyDetailView(BasePolicyView):
    """The policy of one variant."""

    @openapi.describe_endpoint(
        404,
        responses={200: PolicyOut, 304: None},
        parameters=[conditional_requests.IF_NONE_MATCH],
        operation_id="policy",
        summary="What a variant is ranked by",
        tags=["policies"],
    )
    def get(self, request: Request, variant: str) -> Response:
        """Return the policy, its version as ETag."""
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
        summary="Rank a variant by other settings",
        tags=["policies"],
    )
    def put(self, request: Request, variant: str) -> Response:
        """
        Write a new version and serve it, in every process within two seconds (200; 201: the variant had none).

        Settings that are left out have their default. A variant that has no policy yet is made with
        `If-None-Match: *` in place of If-Match.
        """
        is_new = request.headers.get("If-None-Match", "").strip() == "*"
        version = 0 if is_new else conditional_requests.expected_version(request)
        body = PolicyBody(data=request.data)
        body.is_valid(raise_exception=True)
        return policy_response(
            policies.put_policy(variant=variant, version=version, **body.validated_data), 201 if is_new else 200
        )


def policy_response(policy: policies.ServedPolicy, status: int = 200) -> Response:
    """Return a policy with its ETag."""
    return Response(asdict(policy), status=status, headers={"ETag": conditional_requests.etag(policy.version)})
