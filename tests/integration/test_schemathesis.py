"""Schemathesis sends generated requests: no response is a server error, and every response matches the schema."""

import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.graphql import schemas

from access import keys
from access.scopes import Scope
from monitoring import clock
from tests import factories

# Schemathesis loads this module in its first GraphQL test, where pytest parses it to rewrite its assertions. Python
# 3.11 fails ("AST constructor recursion depth mismatch") if the server's thread parses code at the same time.
LOADED_BEFORE_ANY_SERVER = schemas

pytestmark = pytest.mark.django_db(transaction=True)
NIGHTLY = [pytest.mark.nightly, pytest.mark.timeout(0)]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SERVER_ERROR_CODES = {"internal", "internal-error", "server-error", "unexpected"}
"""Error codes of server errors."""


@pytest.fixture
def site(live_server, fresh_wiring, monkeypatch):
    """Return the URL of a real server with a few rows, and the headers of a key with every scope."""
    unlimited = {"graphql_introspection": True, "rate_per_key": 0, "rate_per_member": 0, "rate_per_address": 0}
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=unlimited))
    now = clock.now()
    author = factories.member("author", at=now)
    factories.posts(author, 5, at=now)
    factories.member("ann", at=now)
    _, secret = keys.create(name="everything", scopes=list(Scope), now=now)
    return live_server.url, {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "examples, seconds", [(2, 40), pytest.param(100, 3600, marks=NIGHTLY)], ids=["short", "nightly"]
)
@pytest.mark.one_database("postgresql")
def test_every_rest_response_matches_the_schema(site, tmp_path, examples, seconds):
    """Valid and invalid generated requests to every endpoint get no 5xx and no undocumented response."""
    url, headers = site
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{url}/api/schema/", "--url", url]
    header = ["-H", f"Authorization: {headers['Authorization']}"]
    limits = ["--max-examples", str(examples), "--max-time", str(seconds), "--phases", "examples,fuzzing"]
    options = ["--generation-deterministic", "--suppress-health-check", "all", "--no-color", "-c", CHECKS]
    completed = subprocess.run(
        [*map(str, command), *header, *limits, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout[-6000:]
    assert "Tested: " in completed.stdout


@pytest.fixture
def graphql_schema(site):
    url, headers = site
    return schemathesis.graphql.from_url(f"{url}/graphql", headers=headers)


@pytest.mark.parametrize("examples", [3, pytest.param(200, marks=NIGHTLY)])
def test_every_graphql_error_has_a_code_of_the_client(graphql_schema, site, examples):
    """Generated arguments for every field give a result or an error of the client, and never a server error."""
    tested = []

    def send(case):
        response = case.call(headers=site[1])
        assert response.status_code < 500, response.text
        for error in response.json().get("errors", ()):
            assert error["extensions"]["request_id"] and error["extensions"]["code"] not in SERVER_ERROR_CODES, error
        tested.append(case.operation.label)

    generation = hypothesis_settings(max_examples=examples, derandomize=True)
    for result in graphql_schema.get_all_operations():
        operation = result.ok()

        @generation
        @given(case=operation.as_strategy())
        def each(case):
            send(case)

        each()
    assert len(set(tested)) >= 15
