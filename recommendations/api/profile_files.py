"""Export and import of a member's profile file."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.limited_fields import LimitedListField
from access.request_costs import FILE_COST
from access.scopes import Scope, read_write_scopes
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.services.members.profile_file import schema
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile


class ProfileFileBody(serializers.Serializer):
    """A profile file. docs/profile-file.md describes it; docs/profile-file.schema.json is its JSON schema."""

    format = serializers.ChoiceField([schema.FORMAT_NAME])
    version = serializers.IntegerField(min_value=schema.FORMAT_VERSION, max_value=schema.FORMAT_VERSION)
    member_id = serializers.CharField(required=False, help_text="The exported member.")
    exported_at = serializers.DateTimeField(required=False)
    preferences = serializers.DictField(required=False, help_text="The member's preferences.")
    relationships = serializers.DictField(required=False, help_text="Lists of member ids: follow, block and mute.")
    negative_feedback = LimitedListField(
        child=serializers.DictField(), required=False, max_length=schema.MAX_NEGATIVE_FEEDBACK
    )
    interests = serializers.DictField(
        required=False, allow_null=True, help_text="The learned interests, with their embedding model."
    )
    seen = LimitedListField(child=serializers.DictField(), required=False, max_length=schema.MAX_SEEN)
    omitted = serializers.DictField(
        required=False, help_text="Number of older items that exceeded the limits of the file, per list."
    )


class RejectedItemOut(serializers.Serializer):
    """An item of the file that was not imported."""

    pointer = serializers.CharField(help_text="A JSON pointer into the file.")
    code = serializers.CharField()
    detail = serializers.CharField()


class ProfileReportOut(serializers.Serializer):
    """The results of the file's items."""

    applied = serializers.IntegerField(help_text="Items that changed something.")
    unchanged = serializers.IntegerField(help_text="Items that existed already.")
    rejected = RejectedItemOut(many=True)


class ProfileFileView(APIView):
    """The profile file of one member."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    def extra_cost(self, request: Request) -> int:
        """Return the extra cost of a file. An import costs what its lists cost."""
        return FILE_COST if request.method == "GET" else 0

    @openapi.describe_endpoint(
        404,
        responses={200: ProfileFileBody},
        operation_id="export_profile",
        summary="Export a member's profile as a file",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return preferences, relationships, negative feedback, interests and seen posts, for import by a platform."""
        headers = {"Content-Disposition": 'attachment; filename="profile.json"', "Cache-Control": "no-store"}
        return Response(export_profile(member_id=member_id, now=now()), headers=headers)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: ProfileReportOut, 207: ProfileReportOut},
        request=ProfileFileBody,
        operation_id="import_profile",
        summary="Import a profile file",
        tags=["members"],
    )
    @takes(body=lambda content: content)
    def put(self, request: Request, member_id: str) -> Response:
        """Add the file's items to the member's data. Idempotent. Status 207 if some items were rejected."""
        report = import_profile(member_id=member_id, content=request.inputs.body, now=now())
        return Response(asdict(report), status=207 if report.rejected else 200)
