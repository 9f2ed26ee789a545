"""Version headers on every API response, and deprecations in headers and in the OpenAPI schema."""

from datetime import UTC, datetime

import pytest
from django.conf import settings
from drf_spectacular.generators import SchemaGenerator

from access import versions
from access.versions import Deprecation
from recsys_project import openapi

pytestmark = pytest.mark.django_db
OLD, NEW = "/api/v1/members/{member_id}/show-less-effects", "/api/v1/members/{member_id}/preferences"


@pytest.fixture
def deprecated_endpoint(monkeypatch):
    """Deprecate an endpoint."""
    deprecations = {f"GET {OLD}": Deprecation(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), NEW)}
    monkeypatch.setattr(versions, "DEPRECATIONS", deprecations)
    monkeypatch.setattr(openapi, "DEPRECATIONS", deprecations)


def test_every_api_response_has_a_version_header(client):
    for path in ("/api/v1/members", "/api/v1/members/a/show-less-effects", "/api/v1/nothing"):
        response = client.get(path)
        assert "Deprecation" not in response.headers and "Sunset" not in response.headers
        assert path.endswith("nothing") or response.headers["API-Version"] == settings.SPECTACULAR_SETTINGS["VERSION"]
    assert "API-Version" not in client.get("/livez").headers


def test_a_deprecated_endpoint_has_deprecation_sunset_and_link_headers(client, deprecated_endpoint):
    headers = client.get("/api/v1/members/a/show-less-effects").headers
    assert headers["Deprecation"] == "@1767225600"
    assert headers["Sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
    assert headers["Link"] == f'<{NEW}>; rel="successor-version"'
    assert "Deprecation" not in client.get("/api/v1/members/a/preferences").headers


def test_the_openapi_schema_marks_a_deprecated_endpoint(deprecated_endpoint):
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    assert [
        (path, method) for path in paths for method, operation in paths[path].items() if operation.get("deprecated")
    ] == [(OLD, "get")]
    assert NEW in paths[OLD]["get"]["description"]
