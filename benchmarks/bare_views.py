"""Minimal views with the service's middleware and DRF settings, to compare with feeds."""

from functools import cache

from django.urls import include, path
from rest_framework.response import Response

from access.inputs import Request
from access.scopes import Scope, single_scope
from access.views import APIView
from monitoring.clock import now
from recommendations.api.responses import serialize_page
from recommendations.services.serving.pages import Page
from recommendations.services.serving.recommend import recommend
from recommendations.services.wiring import slate_cache


class BareView(APIView):
    """Return a constant."""

    scopes = single_scope(Scope.FEEDS_READ)

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


class BareRedisView(APIView):
    """Return a constant after one read of the cache."""

    scopes = single_scope(Scope.FEEDS_READ)

    def get(self, request: Request) -> Response:
        return Response({"ok": slate_cache().get(0, "bare") is None})


class BarePageView(APIView):
    """Return a page of 20 posts that was built once: measures its serialization."""

    scopes = single_scope(Scope.FEEDS_READ)

    def get(self, request: Request, member_id: str) -> Response:
        return Response(serialize_page(cached_page(member_id), 0.0, "en"))


@cache
def cached_page(member_id: str) -> Page:
    return recommend(member_id=member_id, now=now(), limit=20)


urlpatterns = [
    path("bare", BareView.as_view()),
    path("bare-page/<str:member_id>", BarePageView.as_view()),
    path("bare-redis", BareRedisView.as_view()),
    path("", include("recsys_project.urls")),
]
