"""A member's profile as a file."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, reading_and_writing
from monitoring.clock import now
from recommendations.api import schema
from recommendations.services.members.profile_file import form
from recommendations.services.members.profile_file.export import export_profile
from recommendations.services.members.profile_file.take_in import import_profile


class ProfileFileBody(serializers.Serializer):
    """A profile file; docs/profile-file.md describes it, docs/profile-file.schema.json is its JSON schema."""

    format = serializers.ChoiceField([form.FORMAT])
    version = serializers.IntegerField(min_value=form.VERSION, max_value=form.VERSION)
    member_id = serializers.CharField(required=False, help_text="Whose it was.")
    exported_at = serializers.DateTimeField(required=False)
    preferences = serializers.DictField(required=False, help_text="What the member wants and allows.")
    ties = serializers.DictField(required=False, help_text="Ids by follow, block and mute.")
    less_of = serializers.ListField(child=serializers.DictField(), required=False, max_length=form.MOST_WISHES)
    interests = serializers.DictField(required=False, allow_null=True, help_text="What was learned, with its model.")
    seen = serializers.ListField(child=serializers.DictField(), required=False, max_length=form.MOST_SEEN)
    left_out = serializers.DictField(required=False, help_text="How many older ones the file had no room for.")


class RefusedItem(serializers.Serializer):
    """An item of the file that was left out."""

    pointer = serializers.CharField(help_text="A JSON pointer into the file.")
    code = serializers.CharField()
    detail = serializers.CharField()


class ProfileReportOut(serializers.Serializer):
    """What became of the file's items."""

    applied = serializers.IntegerField(help_text="Items that changed something.")
    unchanged = serializers.IntegerField(help_text="Items that were there already.")
    refused = RefusedItem(many=True)


class ProfileView(APIView):
    """One member's profile file."""

    scopes = reading_and_writing(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @schema.address(
        404,
        answers={200: ProfileFileBody},
        operation_id="profile_file",
        summary="A member's profile as a file",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return preferences, ties, wishes for less, interests and what was seen, to take along to another platform."""
        headers = {"Content-Disposition": 'attachment; filename="profile.json"', "Cache-Control": "no-store"}
        return Response(export_profile(member_id=member_id, now=now()), headers=headers)

    @schema.address(
        400,
        404,
        answers={200: ProfileReportOut, 207: ProfileReportOut},
        request=ProfileFileBody,
        operation_id="take_in_profile_file",
        summary="Take a profile file in",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str) -> Response:
        """Add the file to what the member has here; 207 when some items were refused. Done twice, it is done once."""
        report = import_profile(member_id=member_id, content=request.data, now=now())
        return Response(asdict(report), status=207 if report.refused else 200)
