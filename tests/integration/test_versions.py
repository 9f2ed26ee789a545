"""Every answer says which version gave it, and what is going to end says so in answers and in the description."""

from datetime import UTC, datetime

import pytest
from django.conf import settings
from drf_spectacular.generators import SchemaGenerator

from access import versions
from access.versions import Deprecation
from recsys_project import openapi

pytestmark = pytest.mark.django_db
OLD, NEW = "/api/v1/members/{member_id}/less", "/api/v1/members/{member_id}/preferences"


@pytest.fixture
def deprecated_address(monkeypatch):
    """Let an address end."""
    ending = {f"GET {OLD}": Deprecation(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), NEW)}
    monkeypatch.setattr(versions, "DEPRECATIONS", ending)
    monkeypatch.setattr(openapi, "ENDING", ending)


def test_every_answer_of_the_api_says_its_version(client):
    for address in ("/api/v1/members", "/api/v1/members/a/less", "/api/v1/nothing"):
        answer = client.get(address)
        assert "Deprecation" not in answer.headers and "Sunset" not in answer.headers
        assert address.endswith("nothing") or answer.headers["API-Version"] == settings.SPECTACULAR_SETTINGS["VERSION"]
    assert "API-Version" not in client.get("/livez").headers


def test_an_address_that_ends_says_since_when_until_when_and_what_to_ask(client, deprecated_address):
    told = client.get("/api/v1/members/a/less").headers
    assert told["Deprecation"] == "@1767225600"
    assert told["Sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
    assert told["Link"] == f'<{NEW}>; rel="successor-version"'
    assert "Deprecation" not in client.get("/api/v1/members/a/preferences").headers


def test_the_description_says_it_too(deprecated_address):
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    assert [(path, method) for path in paths for method, about in paths[path].items() if about.get("deprecated")] == [
        (OLD, "get")
    ]
    assert NEW in paths[OLD]["get"]["description"]
