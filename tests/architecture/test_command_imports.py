"""What each command may load. Commands for emergencies and for scripts do not wait for the imports of the pipeline."""

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from monitoring.extensions import _by_module
from tests.servers import ROOT, shared_database_url

PAGES = {"drf_spectacular.openapi", "graphql", "strawberry", "rest_framework.views", "unfold.admin"}
SERVERS = {"celery", "kombu", "redis"}
"""The clients of Redis and of Celery's broker."""
FLAG_CHANGES = {"growthbook", "openfeature", "rest_framework.serializers", "drf_spectacular.plumbing", "langcodes"}
"""What evaluates and validates flags."""
LOGS = {"structlog"}
"""What formats log lines: these commands write none."""
METRICS = {"prometheus_client"}
"""What counts and times, which only processes that answer requests and run tasks report."""
PIPELINE = {"qdrant_client.http", "recommendations.pipeline", "recommendations.services.wiring", "scipy", "wasmtime"}

MAY_NOT_LOAD = {
    "flag list": PAGES | PIPELINE | SERVERS | FLAG_CHANGES | LOGS | METRICS,
    "flag kill no-such-flag --why test": PAGES | PIPELINE | SERVERS | FLAG_CHANGES | LOGS | METRICS,
    "flag kill approve_models --why test": PAGES | PIPELINE | SERVERS | FLAG_CHANGES | LOGS | METRICS,
    "flag show approve_models": PAGES | PIPELINE | SERVERS,
    "key list": PAGES | PIPELINE | SERVERS | FLAG_CHANGES | LOGS | METRICS,
    "print_settings": PAGES | PIPELINE | SERVERS | FLAG_CHANGES | LOGS | METRICS,
    "maintain": PAGES | {"qdrant_client.http", "scipy"},
}

RUN = """
import json, runpy, sys
from contextlib import redirect_stdout
sys.argv = sys.argv[1:]
try:
    with redirect_stdout(sys.stderr):
        runpy.run_path("manage.py", run_name="__main__")
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("command", MAY_NOT_LOAD)
def test_a_command_loads_only_what_it_needs(command, transactional_db):
    env = os.environ | {"DATABASE_URL": shared_database_url()}
    arguments = [sys.executable, "-c", RUN, "manage.py", *command.split()]
    process = subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True)
    loaded = set(json.loads(process.stdout))
    assert "django" in loaded
    assert loaded & MAY_NOT_LOAD[command] == set()


def test_every_registry_that_an_app_names_exists():
    """An app names the module of a registry without importing it: a misspelled name would be a registry of its own."""
    for name, extensions in _by_module.items():
        module = import_module(name)
        assert extensions in (getattr(module, "extensions", None), getattr(module, "long_running", None)), name


def test_no_module_uses_celerys_current_app():
    """In a command it is an app without settings, until something has loaded the project's (`celery_app`)."""
    packages = ("access", "flags", "monitoring", "recommendations", "recsys_project")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert [str(path) for path in sources if "import current_app" in path.read_text()] == []
