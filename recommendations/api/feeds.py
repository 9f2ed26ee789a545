"""Feeds, and posts like one."""

from __future__ import annotations

from time import perf_counter
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import shows_credential, viewer_in_query
from access.scopes import Scope, every
from monitoring.clock import now
from recommendations.api import schema, shapes
from recommendations.api import serializers as s
from recommendations.api.reading import query_of
from recommendations.services.explaining.explain import explain
from recommendations.services.serving.query import FeedFilters, prefetch_facts
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.similar import find_similar


class FeedView(APIView):
    """One member's feed."""

    scopes = every(Scope.FEEDS_READ)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Answered while it is found out who asks; a stranger makes the database do nothing.
        self.inquiry = prefetch_facts(member_id=kwargs["member_id"]) if shows_credential(request) else None
        super().initial(request, *args, **kwargs)

    @schema.address(
        400,
        404,
        409,
        answers={200: s.PageOut},
        parameters=[s.FeedQuery],
        operation_id="feed",
        summary="A page of a member's feed",
        tags=["feeds"],
    )
    def get(self, request: Request, member_id: str) -> Response:
        """Return a page; the next is asked for with its `next_cursor`, and is null when there is no more."""
        started = perf_counter()
        query = query_of(s.FeedQuery, request)
        fields = shapes.picked_fields(query.pop("fields"))
        filters = FeedFilters(
            languages=tuple(query.pop("language")),
            kinds=tuple(query.pop("kind")),
            tags=tuple(query.pop("tag")),
            max_age_hours=query.pop("max_age_hours"),
            exclude=tuple(query.pop("exclude")),
        )
        page = recommend(member_id=member_id, now=now(), filters=filters, prefetch=self.inquiry, **query)
        return Response(shapes.page_shape(page, 1000 * (perf_counter() - started), fields))


class ExplainView(APIView):
    """Why a post was shown, or was not."""

    scopes = every(Scope.FEEDS_READ)
    members_named = staticmethod(viewer_in_query)

    @schema.address(
        400,
        404,
        409,
        answers={200: s.ExplanationOut},
        parameters=[s.ExplainQuery],
        operation_id="explain",
        summary="Why a viewer was shown a post, or was not",
        tags=["feeds"],
    )
    def get(self, request: Request, request_id: UUID, post_id: str) -> Response:
        """Return the post's place, parts, sources and reasons, or what kept it away."""
        viewer = query_of(s.ExplainQuery, request)["viewer"]
        found = explain(request_id=request_id, post_id=post_id, viewer_id=viewer, now=now())
        return Response(shapes.explanation_shape(found))


class SimilarView(APIView):
    """Posts like one post."""

    scopes = every(Scope.FEEDS_READ)
    members_named = staticmethod(viewer_in_query)

    @schema.address(
        400,
        404,
        409,
        answers={200: s.PageOut},
        parameters=[s.SimilarQuery],
        operation_id="similar",
        summary="Posts like this one, for one viewer",
        tags=["feeds"],
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return the nearest posts that the viewer may see."""
        started = perf_counter()
        query = query_of(s.SimilarQuery, request)
        page = find_similar(post_id=post_id, viewer_id=query["viewer"], limit=query["limit"], now=now())
        return Response(shapes.page_shape(page, 1000 * (perf_counter() - started)))
