"""Previews of feeds, for those who may read both feeds and policies."""

from __future__ import annotations

from time import perf_counter

from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.permissions import require_scope
from access.scopes import Scope, single_scope
from access.typed_fields import StrictSerializer, TypedField
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi, responses
from recommendations.api.serializers import PageOut, id_field
from recommendations.services.serving.preview import preview_feed
from recommendations.services.serving.recommend import FEEDS
from recommendations.services.wiring import ENGINE_FACTORIES
from values.types import Slug, whole_number_from


class FeedPreviewQuery(StrictSerializer):
    """Query parameters of a preview."""

    member_id = id_field(help_text="The member whose feed is ranked.")
    feed = serializers.ChoiceField(FEEDS, default="discovery", help_text="Name of the feed.")
    engine = serializers.ChoiceField(
        tuple(ENGINE_FACTORIES), default="", allow_blank=True, help_text="Default: the engine that serves the member."
    )
    variant = TypedField(
        Slug,
        default="",
        allow_blank=True,
        help_text="The variant whose policy ranks. Default: the one that serves the member.",
    )
    limit = TypedField(whole_number_from(1, 100), default=20)


class FeedPreviewView(APIView):
    """A feed as another engine or policy would rank it."""

    scopes = single_scope(Scope.POLICIES_READ)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: PageOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="preview_feed",
        summary="Preview a member's feed with another engine or variant",
        tags=["policies"],
    )
    @takes(query=FeedPreviewQuery())
    def get(self, request: Request) -> Response:
        """
        Return the first page, ranked now. Keys also need the scope feeds:read.

        A preview is not served: it is not cached or recorded, counts as no exposure, and has no explanation.
        """
        require_scope(request, Scope.FEEDS_READ, None)
        started = perf_counter()
        page = preview_feed(**request.inputs.query, now=now())
        return responses.page_response(request, page, 1000 * (perf_counter() - started))
