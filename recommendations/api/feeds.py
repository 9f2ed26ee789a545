"""Feeds, similar posts, and the members they are for."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from monitoring.clock import now
from recommendations.api import schema, shapes
from recommendations.api import serializers as s
from recommendations.services import members
from recommendations.services.recommend import recommend
from recommendations.services.similar import similar


def query_of(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the checked query parameters of *request*."""
    checked = serializer(data=request.query_params)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


class FeedView(APIView):
    """One member's feed."""

    @schema.address(
        400,
        404,
        409,
        answers={200: s.PageOut},
        parameters=[s.FeedQuery],
        examples=[schema.PAGE],
        operation_id="feed",
        summary="A page of a member's feed",
        tags=["feeds"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return a page; the next is asked for with its `next_cursor`, and is null when there is no more."""
        started = perf_counter()
        page = recommend(member_id=member_id, now=now(), **query_of(s.FeedQuery, request))
        return Response(shapes.page_shape(page, 1000 * (perf_counter() - started)))


class SimilarView(APIView):
    """Posts like one post."""

    @schema.address(
        400,
        404,
        409,
        answers={200: s.PageOut},
        parameters=[s.SimilarQuery],
        examples=[schema.PAGE],
        operation_id="similar",
        summary="Posts like this one, for one viewer",
        tags=["feeds"],
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return the nearest posts that the viewer may see."""
        started = perf_counter()
        query = query_of(s.SimilarQuery, request)
        page = similar(post_id=post_id, viewer_id=query["viewer"], limit=query["limit"], now=now())
        return Response(shapes.page_shape(page, 1000 * (perf_counter() - started)))


class MembersView(APIView):
    """Members to choose from."""

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
