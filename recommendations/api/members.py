"""Members: who there is, what they want and allow, their ties, a fresh start, and what their wishes did."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, every, reading_and_writing
from monitoring.clock import now
from recommendations.api import schema
from recommendations.api import serializers as s
from recommendations.api.reading import query_of
from recommendations.api.shapes import accepted
from recommendations.api.taking_in import answer, answer_one
from recommendations.services import work
from recommendations.services.measuring import show_less_effect
from recommendations.services.members import members, preferences


class MembersView(APIView):
    """Members to choose from."""

    scopes = reading_and_writing(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)

    @schema.address(
        400,
        answers={200: s.MembersOut},
        parameters=[s.MembersQuery],
        operation_id="members",
        summary="Members whose id starts with a text",
        tags=["members"],
    )
    def get(self, request: Request) -> Response:
        """Return members with the number of their interactions."""
        found = members.find_members(**query_of(s.MembersQuery, request))
        return Response({"members": [s.MemberOut(member).data for member in found]})

    @schema.address(
        400,
        answers={200: s.OutcomesOut, 207: s.OutcomesOut},
        request=s.MembersBody,
        operation_id="send_members",
        summary="Make or change members",
        tags=["members"],
    )
    def post(self, request: Request) -> Response:
        """Make or change up to 1000 members; 207 when some were refused. A field that is left out stays as it is."""
        return answer("members", request)


class MemberView(APIView):
    """One member."""

    scopes = reading_and_writing(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)

    @schema.address(404, answers={200: s.MemberOut}, operation_id="member", summary="A member", tags=["members"])
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member with the number of their interactions."""
        return Response(s.MemberOut(members.read_member(member_id=member_id)).data)

    @schema.address(
        400,
        answers={200: s.OutcomeOut, 201: s.OutcomeOut},
        request=s.MemberItem(partial=True),
        operation_id="send_member",
        summary="Make or change a member",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str) -> Response:
        """Make the member (201) or change the fields that are given (200)."""
        return answer_one("members", request, member_id)

    @schema.address(
        404,
        answers={202: s.JobOut},
        operation_id="erase_member",
        summary="Erase a member",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str) -> Response:
        """
        Erase the member and all they wrote and did. They and their posts are hidden at once; a job does the rest.

        There is no way back. What is erased from where is in docs/privacy.md.
        """
        return accepted(work.submit(kind="erase_members", params={"member_ids": [member_id]}, now=now()))


class PreferencesView(APIView):
    """What one member wants and allows."""

    scopes = reading_and_writing(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @schema.address(
        404,
        answers={200: s.Preferences},
        operation_id="preferences",
        summary="What a member wants and allows",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member's preferences."""
        return Response(asdict(preferences.read_preferences(member_id=member_id)))

    @schema.address(
        400,
        404,
        answers={200: s.Preferences},
        request=s.Preferences(partial=True),
        operation_id="change_preferences",
        summary="Change what a member wants and allows",
        tags=["members"],
    )
    def patch(self, request: Request, member_id: str) -> Response:
        """Change the preferences that are given. Turning is_personalised off deletes what was learned."""
        body = s.Preferences(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(
            asdict(preferences.set_preferences(member_id=member_id, changes=body.validated_data, now=now()))
        )


class TieView(APIView):
    """Whether one member follows, blocks or mutes another."""

    scopes = reading_and_writing(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @schema.address(
        400,
        404,
        answers={204: None},
        request=None,
        operation_id="tie",
        summary="Follow, block or mute a member",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str, kind: str, other_id: str) -> Response:
        """Make the tie; twice is once. A block ends the follows between the two."""
        preferences.relate(member_id=member_id, kind=kind, other_id=other_id, is_on=True, now=now())
        return Response(status=204)

    @schema.address(
        400,
        404,
        answers={204: None},
        operation_id="untie",
        summary="Unfollow, unblock or unmute a member",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str, kind: str, other_id: str) -> Response:
        """End the tie; if there is none, nothing happens."""
        preferences.relate(member_id=member_id, kind=kind, other_id=other_id, is_on=False, now=now())
        return Response(status=204)


class ResetView(APIView):
    """A fresh start."""

    scopes = reading_and_writing(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @schema.address(
        404,
        answers={204: None},
        request=None,
        operation_id="reset",
        summary="Forget a member's taste",
        tags=["members"],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Delete what was learned of the member. Follows, blocks, mutes and hidden posts stay."""
        preferences.reset(member_id=member_id, now=now())
        return Response(status=204)


class EffectsView(APIView):
    """What a member's wishes for less did."""

    scopes = every(Scope.PROFILE_READ)

    @schema.address(
        404,
        answers={200: s.EffectsOut},
        operation_id="less_effects",
        summary="Whether showing less of something works",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the share of each subject turned down in what was shown before and after, newest first."""
        found = show_less_effect.effects(member_id=member_id)
        return Response({"effects": [asdict(effect) for effect in found]})
