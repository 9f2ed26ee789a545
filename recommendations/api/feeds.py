"""Feeds, explanations and similar posts."""

from __future__ import annotations

from time import perf_counter
from typing import Any
from uuid import UUID

from rest_framework.response import Response

from access.inputs import Inputs, Request
from access.permissions import may_be_authenticated
from access.scopes import Scope, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi, responses
from recommendations.api import serializers as s
from recommendations.services.explaining.explain import explain
from recommendations.services.serving.query import FeedFilters, prefetch_facts
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.similar import find_similar


class FeedView(APIView):
    """The feed of one member."""

    scopes = single_scope(Scope.FEEDS_READ)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        # The database answers these queries while the request is authenticated. Anonymous requests send none.
        self.prefetch = prefetch_facts(member_id=kwargs["member_id"]) if may_be_authenticated(request) else None
        super().initial(request, *args, **kwargs)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="read_feed",
        summary="Read a page of a member's feed",
        tags=["feeds"],
    )
    @takes(query=s.FeedQuery())
    def get(self, request: Request, member_id: str) -> Response:
        """Return a page of the feed. `next_cursor` is the cursor of the next page, or null on the last page."""
        started = perf_counter()
        query = dict(request.inputs.query)
        selection = responses.parse_field_selection(query.pop("fields"))
        filters = FeedFilters(
            languages=tuple(query.pop("language")),
            kinds=tuple(query.pop("kind")),
            tags=tuple(query.pop("tag")),
            max_age_hours=query.pop("max_age_hours"),
            exclude=tuple(query.pop("exclude_post_id")),
        )
        page = recommend(member_id=member_id, now=now(), filters=filters, prefetch=self.prefetch, **query)
        return responses.page_response(request, page, 1000 * (perf_counter() - started), selection)


def get_viewer_ids(inputs: Inputs) -> list[object]:
    """Return the viewer in the query."""
    return [inputs.query["viewer_id"]]


class ExplainView(APIView):
    """Why a post was served, or was not."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.ExplanationOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="explain",
        summary="Explain why a post was served, or was not",
        tags=["feeds"],
    )
    @takes(query=s.ExplainQuery(), member_ids=get_viewer_ids)
    def get(self, request: Request, request_id: UUID, post_id: str) -> Response:
        """Return the post's rank, score parts, sources and reasons, or the filter that dropped it."""
        viewer_id = request.inputs.query["viewer_id"]
        explanation = explain(request_id=request_id, post_id=post_id, viewer_id=viewer_id, now=now())
        return responses.explanation_response(request, explanation)


class SimilarView(APIView):
    """Posts similar to one post."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="list_similar_posts",
        summary="List similar posts for a viewer",
        tags=["feeds"],
    )
    @takes(query=s.SimilarQuery(), member_ids=get_viewer_ids)
    def get(self, request: Request, post_id: str) -> Response:
        """Return the most similar posts that the viewer may see."""
        started = perf_counter()
        query = request.inputs.query
        page = find_similar(post_id=post_id, viewer_id=query["viewer_id"], limit=query["limit"], now=now())
        return responses.page_response(request, page, 1000 * (perf_counter() - started))
