"""URLs of the access app."""

from django.urls import path

from access.api import TokensView

urlpatterns = [path("api/v1/tokens", TokensView.as_view(), name="api-tokens")]
