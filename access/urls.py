"""URLs of the access app. They import its OpenAPI extensions, which register themselves."""

from django.urls import path

from access import schema  # noqa: F401
from access.api import TokensView

urlpatterns = [path("api/v1/tokens", TokensView.as_view(), name="api-tokens")]
