"""What Schemathesis makes of the API's own description: no request breaks it, and every answer is as it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from access import keys
from access.scopes import Scope
from monitoring import clock
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SERVER_ERROR_CODES = {"internal", "internal-error", "server-error", "unexpected"}
"""Codes of errors that are our failures."""


@pytest.fixture
def site(live_server, fresh_wiring, monkeypatch):
    """Return the address of a real server with a few rows, and the headers of a key that may do everything."""
    free = {"graphql_introspection": True, "rate_per_key": 0, "rate_per_member": 0, "rate_per_address": 0}
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=free))
    now = clock.now()
    author = factories.member("author", at=now)
    factories.posts(author, 5, at=now)
    factories.member("ann", at=now)
    _, secret = keys.create(name="everything", scopes=list(Scope), now=now)
    return live_server.url, {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "examples, seconds", [(2, 40), pytest.param(100, 3600, marks=pytest.mark.nightly)], ids=["short", "nightly"]
)
def test_rest_answers_as_it_says_whatever_it_is_sent(site, tmp_path, examples, seconds):
    """Every address with made-up requests, right ones and wrong ones: no 5xx, and no answer that is not described."""
    url, headers = site
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{url}/api/schema/", "--url", url]
    header = ["-H", f"Authorization: {headers['Authorization']}"]
    bounds = ["--max-examples", str(examples), "--max-time", str(seconds), "--phases", "examples,fuzzing"]
    how = ["--generation-deterministic", "--suppress-health-check", "all", "--no-color", "-c", CHECKS]
    done = subprocess.run(
        [*map(str, command), *header, *bounds, *how], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: " in done.stdout


@pytest.fixture
def graph(site):
    url, headers = site
    return schemathesis.graphql.from_url(f"{url}/graphql", headers=headers)


@pytest.mark.parametrize("examples", [3, pytest.param(200, marks=pytest.mark.nightly)])
def test_graphql_refuses_with_a_code_and_never_breaks(graph, site, examples):
    """Every field with made-up arguments: an answer, or an error that says what was wrong and is not our failure."""
    asked = []

    def ask(case):
        answer = case.call(headers=site[1])
        assert answer.status_code < 500, answer.text
        for error in answer.json().get("errors", ()):
            assert error["extensions"]["request_id"] and error["extensions"]["code"] not in SERVER_ERROR_CODES, error
        asked.append(case.operation.label)

    quiet = hypothesis_settings(max_examples=examples, derandomize=True)
    for found in graph.get_all_operations():
        operation = found.ok()

        @quiet
        @given(case=operation.as_strategy())
        def each(case):
            ask(case)

        each()
    assert len(set(asked)) >= 15
