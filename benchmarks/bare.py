"""Bare views of the same server, middleware and DRF settings: the peers that feeds are measured against."""

from functools import cache

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, every
from monitoring.clock import now
from recommendations.api.shapes import page_shape
from recommendations.services.serving.pages import Page
from recommendations.services.serving.recommend import recommend
from recommendations.services.wiring import slates


class Bare(APIView):
    """Answers at once."""

    scopes = every(Scope.FEEDS_READ)

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


class BareRedis(APIView):
    """Answers after one read of the cache."""

    def get(self, request: Request) -> Response:
        return Response({"ok": slates().get(0, "bare") is None})


class BarePage(APIView):
    """Answers with a page of 20 that was made once: what it takes to put one into words."""

    scopes = every(Scope.FEEDS_READ)

    def get(self, request: Request, member: str) -> Response:
        return Response(page_shape(kept_page(member), 0.0))


@cache
def kept_page(member: str) -> Page:
    return recommend(member_id=member, now=now(), limit=20)


urlpatterns = [
    path("bare", Bare.as_view()),
    path("bare-page/<str:member>", BarePage.as_view()),
    path("bare-redis", BareRedis.as_view()),
    path("", include("recsys_project.urls")),
]
