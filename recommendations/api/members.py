"""Members, their preferences, relationships and follow requests, the reset of their profile, and negative feedback."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.response import Response

from access.inputs import Request
from access.permissions import is_sent_by_member
from access.scopes import Scope, read_write_scopes, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.api import serializers as s
from recommendations.api.responses import job_accepted_response
from recommendations.api.senders import get_submitter
from recommendations.api.upserts import parse_item, parse_items, upsert_item_response, upsert_items_response
from recommendations.services import work
from recommendations.services.measuring import show_less_effect
from recommendations.services.members import follow_requests, members, preferences


class MembersView(APIView):
    """The list of members."""

    scopes = read_write_scopes(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)

    @openapi.describe_endpoint(
        400,
        responses={200: s.MembersOut},
        operation_id="list_members",
        summary="List members by the first characters of their id",
        tags=["members"],
    )
    @takes(query=s.MembersQuery())
    def get(self, request: Request) -> Response:
        """Return members with the number of their interactions."""
        summaries = members.find_members(**request.inputs.query)
        return Response({"members": [s.MemberOut(member).data for member in summaries]})

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultsOut, 207: s.ItemResultsOut},
        request=s.MembersBody,
        operation_id="upsert_members",
        summary="Create or update members",
        tags=["members"],
    )
    @takes(body=parse_items("members"))
    def post(self, request: Request) -> Response:
        """Create or update up to 1000 members. Status 207 if some were rejected. Omitted fields keep their value."""
        return upsert_items_response("members", request)


class MemberView(APIView):
    """One member."""

    scopes = read_write_scopes(Scope.MEMBERS_READ, Scope.MEMBERS_WRITE)
    staff_permissions = {"DELETE": "recommendations.delete_member"}

    @openapi.describe_endpoint(
        404, responses={200: s.MemberOut}, operation_id="read_member", summary="Read a member", tags=["members"]
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member with the number of their interactions."""
        return Response(s.MemberOut(members.read_member(member_id=member_id)).data)

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultOut, 201: s.ItemResultOut},
        request=s.MemberIn(partial=True),
        operation_id="upsert_member",
        summary="Create or update a member",
        tags=["members"],
    )
    @takes(body=parse_item)
    def put(self, request: Request, member_id: str) -> Response:
        """Create the member (201), or update the given fields (200)."""
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
        Erase the member with their posts and interactions. They are hidden at once, and a job deletes them.

        Erasure cannot be undone. From now on the id is unknown: sent again, it is a new member. docs/privacy.md lists
        the deleted data. The receipt of the erasure (`GET /api/v1/erasures`) says when all of it is deleted.
        """
        return job_accepted_response(
            work.submit_job(
                kind="erase_members",
                params={"member_ids": [member_id]},
                now=now(),
                submitter=get_submitter(request),
            )
        )


class PreferencesView(APIView):
    """The preferences of one member."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={200: s.PreferencesBody},
        operation_id="read_preferences",
        summary="Read a member's preferences",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return the member's preferences."""
        return Response(asdict(preferences.read_preferences(member_id=member_id)))

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.PreferencesBody},
        operation_id="update_preferences",
        summary="Update a member's preferences",
        tags=["members"],
    )
    @takes(body=s.PreferencesBody(partial=True))
    def patch(self, request: Request, member_id: str) -> Response:
        """Update the given preferences. Setting is_personalized to false deletes the learned interests."""
        return Response(
            asdict(preferences.set_preferences(member_id=member_id, changes=request.inputs.body, now=now()))
        )


class RelationshipView(APIView):
    """A follow, follow request, block or mute between two members."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={204: None},
        request=None,
        operation_id="create_relationship",
        summary="Follow, request to follow, block or mute a member",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str, kind: str, target_id: str) -> Response:
        """
        Create the relationship. Idempotent. A block ends the follows and requests between the two members.

        With a member's token, the follow of a private account is a request that its member approves. The platform's key
        stores a follow that the platform has approved; with the kind follow_request, the key sends a request, too.
        """
        preferences.set_relationship(
            member_id=member_id,
            kind=kind,
            target_id=target_id,
            is_on=True,
            is_sent_by_member=is_sent_by_member(request),
            now=now(),
        )
        return Response(status=204)

    @openapi.describe_endpoint(
        400,
        404,
        responses={204: None},
        operation_id="delete_relationship",
        summary="Unfollow, unblock or unmute a member",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str, kind: str, target_id: str) -> Response:
        """Delete the relationship. Idempotent. The end of a follow also withdraws a pending request."""
        preferences.set_relationship(
            member_id=member_id,
            kind=kind,
            target_id=target_id,
            is_on=False,
            is_sent_by_member=is_sent_by_member(request),
            now=now(),
        )
        return Response(status=204)


class FollowRequestsView(APIView):
    """The pending follow requests of one member."""

    scopes = single_scope(Scope.PROFILE_READ)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.FollowRequestsOut},
        operation_id="list_follow_requests",
        summary="List a member's pending follow requests",
        tags=["members"],
    )
    @takes(query=s.FollowRequestsQuery())
    def get(self, request: Request, member_id: str) -> Response:
        """Return the requests that the member has received, or those that the member has sent, newest first."""
        page = follow_requests.list_follow_requests(member_id=member_id, **request.inputs.query)
        return Response(asdict(page))


class FollowRequestView(APIView):
    """A pending follow request that a member has received."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={204: None},
        request=None,
        operation_id="approve_follow_request",
        summary="Approve a follow request",
        tags=["members"],
    )
    def put(self, request: Request, member_id: str, requester_id: str) -> Response:
        """Let the requester follow the member, from the next request on."""
        follow_requests.approve_follow_request(member_id=member_id, requester_id=requester_id)
        return Response(status=204)

    @openapi.describe_endpoint(
        404,
        responses={204: None},
        operation_id="decline_follow_request",
        summary="Decline a follow request",
        tags=["members"],
    )
    def delete(self, request: Request, member_id: str, requester_id: str) -> Response:
        """Delete the request. Idempotent. The requester is not told, and may send another; a block prevents that."""
        follow_requests.decline_follow_request(member_id=member_id, requester_id=requester_id)
        return Response(status=204)


class ProfileResetView(APIView):
    """Reset of a member's profile."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.PROFILE_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={204: None},
        request=None,
        operation_id="reset_profile",
        summary="Reset a member's learned interests",
        tags=["members"],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Delete the learned interests of the member. Follows, blocks, mutes and hidden posts stay."""
        preferences.reset_interests(member_id=member_id, now=now())
        return Response(status=204)


class ShowLessEffectsView(APIView):
    """The effects of a member's negative feedback."""

    scopes = single_scope(Scope.PROFILE_READ)

    @openapi.describe_endpoint(
        404,
        responses={200: s.ShowLessEffectsOut},
        operation_id="list_show_less_effects",
        summary="List the effects of a member's negative feedback",
        tags=["members"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """
        Return each target's share in the posts served before and after the feedback, newest feedback first.

        Feedback on a post that the member may not see now is left out.
        """
        effects = show_less_effect.show_less_effects(member_id=member_id, now=now())
        return Response({"effects": [asdict(effect) for effect in effects]})
