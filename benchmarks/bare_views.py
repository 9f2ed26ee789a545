"""Bare views of the same server, middleware and DRF settings: the peers that feeds are measured against."""

from functools import cache

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, single_scope
from monitoring.clock import now
from recommendations.api.responses import serialize_page
from recommendations.services.serving.pages import Page
from recommendations.services.serving.recommend import recommend
from recommendations.services.wiring import slate_cache


class BareView(APIView):
    """Answers at once."""

    scopes = single_scope(Scope.FEEDS_READ)

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


class BareRedisView(APIView):
    """Answers after one read of the cache."""

    def get(self, request: Request) -> Response:
        return Response({"ok": slate_cache().get(0, "bare") is None})


class BarePageView(APIView):
    """Answers with a page of 20 that was made once: what it takes to put one into words."""

    scopes = single_scope(Scope.FEEDS_READ)

    def get(self, request: Request, member: str) -> Response:
        return Response(serialize_page(cached_page(member), 0.0))


@cache
def cached_page(member: str) -> Page:
    return recommend(member_id=member, now=now(), limit=20)


urlpatterns = [
    path("bare", BareView.as_view()),
    path("bare-page/<str:member>", BarePageView.as_view()),
    path("bare-redis", BareRedisView.as_view()),
    path("", include("recsys_project.urls")),
]
