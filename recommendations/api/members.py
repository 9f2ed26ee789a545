"""Members: who there is, what they want and allow, their ties, a fresh start, and what their wishes did."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, read_write_scopes, single_scope
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.api import serializers as s
from recommendations.api.query_parameters import parse_query_parameters
from recommendations.api.responses import job_accepted_response
from recommendations.api.upserts import upsert_item_response, upsert_items_response
from recommendations.services import work
from recommendations.services.measuring import show_less_effect
from recommendations.services.members import members, preferences


class MembersView(APIView):
    """Members to choose from."""

    scopes = read_write_scopes(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)

    @openapi.describe_endpoint(
        400,
        responses={200: s.MembersOut},
        parameters=[s.MembersQuery],
        operation_id="members",
        summary="Members whose id starts with a text",
        tags=["members"],
    )
    def get(self, request: Request) -> Response:
        """Return members with the number of their interactions."""
        found = members.find_members(**parse_query_parameters(s.MembersQuery, request))
        return Response({"members": [s.MemberOut(member).data for member in found]})

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultsOut, 207: s.ItemResultsOut},
        request=s.MembersBody,
        operation_id="send_members",
        summary="Make or change members",
        tags=["members"],
    )
    def post(self, request: Request) -> Response:
        """Make or change up to 1000 members; 207 when some were refused. A field that is left out stays as it is."""
        return upsert_items_response("members", request)


class MemberView(APIView):
    """One member."""

    scopes = read_write_scopes(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)

    @openapi.describe_endpoint(
        404, responses={200: s.MemberOut}, operation_id="member", summary="A member", tags=["members"]
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member with the number of their interactions."""
        return Response(s.MemberOut(members.read_member(member_id=member_id)).data)

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultOut, 201: s.ItemResultOut},
        request=s.MemberIn(partial=True),
        operation_id="send_member",
        summary="Make or change a member",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str) -> Response:
        """Make the member (201) or change the fields that are given (200)."""
        return upsert_item_response("members", request, member_id)

    @openapi.describe_endpoint(
        404,
        responses={202: s.JobOut},
        operation_id="erase_member",
        summary="Erase a member",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str) -> Response:
        """
        Erase the member and all they wrote and did. They and their posts are hidden at once; a job does the rest.

        There is no way back. What is erased from where is in docs/privacy.md.
        """
        return job_accepted_response(
            work.submit_job(kind="erase_members", params={"member_ids": [member_id]}, now=now())
        )


class PreferencesView(APIView):
    """What one member wants and allows."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={200: s.PreferencesBody},
        operation_id="preferences",
        summary="What a member wants and allows",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member's preferences."""
        return Response(asdict(preferences.read_preferences(member_id=member_id)))

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.PreferencesBody},
        request=s.PreferencesBody(partial=True),
        operation_id="change_preferences",
        summary="Change what a member wants and allows",
        tags=["members"],
    )
    def patch(self, request: Request, member_id: str) -> Response:
        """Change the preferences that are given. Turning is_personalized off deletes what was learned."""
        body = s.PreferencesBody(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(
            asdict(preferences.set_preferences(member_id=member_id, changes=body.validated_data, now=now()))
        )


class RelationshipView(APIView):
    """Whether one member follows, blocks or mutes another."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={204: None},
        request=None,
        operation_id="tie",
        summary="Follow, block or mute a member",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str, kind: str, other_id: str) -> Response:
        """Make the tie; twice is once. A block ends the follows between the two."""
        preferences.set_relationship(member_id=member_id, kind=kind, other_id=other_id, is_on=True, now=now())
        return Response(status=204)

    @openapi.describe_endpoint(
        400,
        404,
        responses={204: None},
        operation_id="untie",
        summary="Unfollow, unblock or unmute a member",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str, kind: str, other_id: str) -> Response:
        """End the tie; if there is none, nothing happens."""
        preferences.set_relationship(member_id=member_id, kind=kind, other_id=other_id, is_on=False, now=now())
        return Response(status=204)


class ProfileResetView(APIView):
    """A fresh start."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={204: None},
        request=None,
        operation_id="reset",
        summary="Forget a member's taste",
        tags=["members"],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Delete what was learned of the member. Follows, blocks, mutes and hidden posts stay."""
        preferences.reset_interests(member_id=member_id, now=now())
        return Response(status=204)


class ShowLessEffectsView(APIView):
    """What a member's wishes for less did."""

    scopes = single_scope(Scope.PROFILE_READ)

    @openapi.describe_endpoint(
        404,
        responses={200: s.ShowLessEffectsOut},
        operation_id="less_effects",
        summary="Whether showing less of something works",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the share of each subject turned down in what was shown before and after, newest first."""
        found = show_less_effect.show_less_effects(member_id=member_id)
        return Response({"effects": [asdict(effect) for effect in found]})
