"""Receipts of erasures."""

from __future__ import annotations

from uuid import UUID

from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.scopes import READ_METHODS, Scope, single_scope
from access.typed_fields import TypedField
from access.views import APIView, takes
from recommendations.api import openapi
from recommendations.api.serializers import id_field
from recommendations.services.members import erasure
from values.types import whole_number_from

STAFF_PERMISSIONS = dict.fromkeys(READ_METHODS, "recommendations.view_erasurereceipt")


class ErasuresQuery(serializers.Serializer):
    """Query parameters of the list of erasures."""

    member_id = id_field(required=False, default="", help_text="Only the erasures of the member who had this id.")
    limit = TypedField(whole_number_from(1, 100), default=20)


class ErasureOut(serializers.Serializer):
    """The receipt of the erasure of one member. It does not name the member."""

    id = serializers.UUIDField()
    member_hash = serializers.CharField(help_text="A keyed hash of the member's id.")
    job_id = serializers.UUIDField(allow_null=True)
    requested_by = serializers.CharField(
        help_text="Key, staff user, member (as a hash) or command line, such as key:ab12cd34ef. Empty: an open API."
    )
    requested_at = serializers.DateTimeField(help_text="From this time on nobody saw the member or their posts.")
    erased_at = serializers.DateTimeField(allow_null=True, help_text="When all rows, caches and vectors were deleted.")
    models_due_at = serializers.DateTimeField(
        allow_null=True, help_text="At this time at the latest, no trained model contains the member."
    )
    forgotten_model_ids = serializers.ListField(
        child=serializers.IntegerField(), help_text="The trained models that were deleted because of the erasure."
    )
    active_model_id = serializers.IntegerField(allow_null=True, help_text="The active model without the member.")
    active_model_since = serializers.DateTimeField(allow_null=True)
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many rows were erased, by table or other place."
    )
    finished_at = serializers.DateTimeField(
        allow_null=True, help_text="When every place was clear, trained models included. null: not yet."
    )


class ErasuresOut(serializers.Serializer):
    """A list of receipts."""

    erasures = ErasureOut(many=True)


class ErasuresView(APIView):
    """The list of erasures."""

    scopes = single_scope(Scope.MEMBERS_READ)
    staff_permissions = STAFF_PERMISSIONS

    @openapi.describe_endpoint(
        400,
        responses={200: ErasuresOut},
        operation_id="list_erasures",
        summary="List the receipts of erasures",
        tags=["members"],
    )
    @takes(query=ErasuresQuery())
    def get(self, request: Request) -> Response:
        """Return receipts, newest first."""
        receipts = erasure.list_receipts(**request.inputs.query)
        return Response({"erasures": ErasureOut(receipts, many=True).data})


class ErasureView(APIView):
    """The receipt of one erasure."""

    scopes = single_scope(Scope.MEMBERS_READ)
    staff_permissions = STAFF_PERMISSIONS

    @openapi.describe_endpoint(
        404,
        responses={200: ErasureOut},
        operation_id="read_erasure",
        summary="Read the receipt of an erasure",
        tags=["members"],
    )
    def get(self, request: Request, erasure_id: UUID) -> Response:
        """Return what was erased, how much, when, and at whose request."""
        return Response(ErasureOut(erasure.read_receipt(receipt_id=erasure_id)).data)
