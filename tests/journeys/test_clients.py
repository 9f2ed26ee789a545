"""The Python and TypeScript clients that are generated from the OpenAPI schema work for an integrator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from access import keys
from access.scopes import Scope
from monitoring import clock
from tests.servers import skip_or_fail

pytestmark = pytest.mark.django_db(transaction=True)
CLIENTS = Path(__file__).resolve().parents[1] / "clients"
BIN = Path(sys.executable).parent


@pytest.fixture
def key(worker, live_server, fresh_wiring):
    """Return the secret of a key with every scope, for a real server with a real worker."""
    _, secret = keys.create(name="integrator", scopes=list(Scope), now=clock.now())
    assert settings.ENV.api_open is False
    return secret


@pytest.fixture(scope="module")
def openapi_schema(tmp_path_factory):
    """Return the path of the OpenAPI schema."""
    file = tmp_path_factory.mktemp("api") / "openapi.yaml"
    call_command("spectacular", "--file", str(file), "--fail-on-warn")
    return file


def run_command(*command, folder):
    """Return the output of a command, which must succeed."""
    completed = subprocess.run(
        [str(argument) for argument in command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-4000:]
    return completed.stdout


def assert_results(output, prefix):
    """Assert the results that a client printed; they are the same for both clients."""
    results = json.loads(output.strip().splitlines()[-1])
    first, second = results["pages"]
    assert len(first) == len(second) == 5 and not set(first) & set(second)
    assert all(post.startswith(prefix) for post in first + second)
    assert {name: value for name, value in results.items() if name != "pages"} == {
        "posts": 12,
        "event_status": "recorded",
        "explanation_status": "served",
        "job": ["member_feed", "done"],
        "problem": "unknown-member",
    }


def test_the_python_client_works_and_passes_mypy(live_server, key, openapi_schema, tmp_path):
    generate = [BIN / "openapi-python-client", "generate", "--path", openapi_schema, "--meta", "none"]
    run_command(*generate, "--output-path", "recsys_client", folder=tmp_path)
    journey = shutil.copy(CLIENTS / "journey.py", tmp_path)
    run_command(BIN / "mypy", "--strict", "--follow-imports=silent", "--config-file=", "journey.py", folder=tmp_path)
    assert_results(run_command(sys.executable, journey, live_server.url, key, folder=tmp_path), "py-post-")


def test_the_typescript_client_works_and_passes_tsc(live_server, key, openapi_schema, tmp_path):
    if shutil.which("npm") is None:
        skip_or_fail("There is no npm. Install Node.js 20 or newer to test the TypeScript client.")
    for name in ("package.json", "package-lock.json", "tsconfig.json", "journey.ts"):
        shutil.copy(CLIENTS / name, tmp_path)
    run_command("npm", "ci", "--silent", "--no-audit", "--no-fund", folder=tmp_path)
    run_command(
        "npx",
        "openapi-typescript",
        openapi_schema,
        "--default-non-nullable=false",
        "-o",
        "schema.d.ts",
        folder=tmp_path,
    )
    run_command("npx", "tsc", folder=tmp_path)
    assert_results(run_command("node", "built/journey.js", live_server.url, key, folder=tmp_path), "ts-post-")
