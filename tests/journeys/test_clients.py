"""Clients in Python and TypeScript, generated from the API's description, do what an integrator does."""

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
    """Return the secret of a key that may do everything, on a real server with a real worker behind it."""
    _, secret = keys.create(name="integrator", scopes=list(Scope), now=clock.now())
    assert settings.ENV.api_open is False
    return secret


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    """Return the file of the API's description."""
    file = tmp_path_factory.mktemp("api") / "openapi.yaml"
    call_command("spectacular", "--file", str(file), "--fail-on-warn")
    return file


def run_command(*command, folder):
    """Return what a command printed; fail with all of it."""
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def check(printed, prefix):
    """Both clients found the same."""
    found = json.loads(printed.strip().splitlines()[-1])
    first, second = found["pages"]
    assert len(first) == len(second) == 5 and not set(first) & set(second)
    assert all(post.startswith(prefix) for post in first + second)
    assert {name: found[name] for name in ("posts", "act", "why", "job", "refused")} == {
        "posts": 12,
        "act": "recorded",
        "why": "shown",
        "job": ["member_feed", "done"],
        "refused": "unknown-member",
    }


def test_the_python_client(live_server, key, description, tmp_path):
    """Typed: mypy --strict passes on what an integrator writes."""
    generate = [BIN / "openapi-python-client", "generate", "--path", description, "--meta", "none"]
    run_command(*generate, "--output-path", "recsys_client", folder=tmp_path)
    journey = shutil.copy(CLIENTS / "journey.py", tmp_path)
    run_command(BIN / "mypy", "--strict", "--follow-imports=silent", "--config-file=", "journey.py", folder=tmp_path)
    check(run_command(sys.executable, journey, live_server.url, key, folder=tmp_path), "py-post-")


def test_the_typescript_client(live_server, key, description, tmp_path):
    """Typed: tsc --strict passes on what an integrator writes; packages are those of the lock."""
    if shutil.which("npm") is None:
        skip_or_fail("No npm: Node.js 20 or newer is needed for the TypeScript client.")
    for name in ("package.json", "package-lock.json", "tsconfig.json", "journey.ts"):
        shutil.copy(CLIENTS / name, tmp_path)
    run_command("npm", "ci", "--silent", "--no-audit", "--no-fund", folder=tmp_path)
    run_command(
        "npx", "openapi-typescript", description, "--default-non-nullable=false", "-o", "schema.d.ts", folder=tmp_path
    )
    run_command("npx", "tsc", folder=tmp_path)
    check(run_command("node", "built/journey.js", live_server.url, key, folder=tmp_path), "ts-post-")
