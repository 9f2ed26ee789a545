"""Bare views of the same server, middleware and DRF settings: the peers that feeds are measured against."""

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from recommendations.services.wiring import slates


class Bare(APIView):
    """Answers at once."""

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


class BareRedis(APIView):
    """Answers after one read of the cache."""

    def get(self, request: Request) -> Response:
        return Response({"ok": slates().get(0, "bare") is None})


urlpatterns = [
    path("bare", Bare.as_view()),
    path("bare-redis", BareRedis.as_view()),
    path("", include("recsys_project.urls")),
]
