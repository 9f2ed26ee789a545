"""Architecture rules without a tool of their own, and checks that import-linter enforces its contracts."""

import ast
import itertools
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
from celery import current_app

from recommendations import task_queue
from recsys_project.schedule import SCHEDULE
from recsys_project.stack import commands
from recsys_project.stack.state import StackState

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("recsys_project", "recommendations", "flags", "access", "monitoring", "wasm")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
VAGUE_NAMES = {"utils", "helpers", "common", "misc", "manager"}

VIOLATIONS = {
    "an adapter that imports another": (
        "recommendations/engines/plain.py",
        "from recommendations.stores import memory_slates",
    ),
    "a pipeline that imports Django": ("recommendations/pipeline/run.py", "import django.conf"),
    "an evaluation that imports Django": ("recommendations/evaluation/metrics.py", "import django.conf"),
    "an entry point that bypasses the services": (
        "recommendations/tasks.py",
        "from recommendations.models import Post",
    ),
    "a service that imports the kernel": ("recommendations/services/learning/learn.py", "import wasm"),
    "flags that import recommendations": ("flags/services/change.py", "from recommendations import contracts"),
    "access keys that import flags": ("access/keys.py", "import flags.models"),
    "a service that evaluates a flag without OpenFeature": (
        "recommendations/services/serving/query.py",
        "from flags.services.evaluate import evaluate",
    ),
    "an entry point that writes flags directly": ("flags/admin/base.py", "from flags.models.guarded import writing"),
    "a server process that imports the training": (
        "recommendations/tasks.py",
        "from recommendations.services.training import train",
    ),
    "a training that imports Django": ("recommendations/training/likes.py", "import django.conf"),
    "a module outside every layer": ("recommendations/elsewhere.py", "import math"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_import_linter_detects_a_forbidden_import(violation, tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    file, line = VIOLATIONS[violation]
    path = tmp_path / file
    path.write_text(line + "\n" + (path.read_text() if path.exists() else ""))
    linter = Path(sys.executable).parent / "lint-imports"
    completed = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert completed.returncode != 0, completed.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_docstring_and_a_specific_name(path):
    tree = ast.parse(path.read_text())
    has_code = any(not isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
    if has_code and "migrations" not in path.parts and path.name not in ("apps.py",):
        assert ast.get_docstring(tree), "no docstring"
    assert path.stem not in VAGUE_NAMES


def test_every_queue_has_a_worker():
    """A task in a queue without a worker would never run."""
    words = [word for command in commands.server_commands(StackState()).values() for word in command]
    consumed = {queue for option, value in itertools.pairwise(words) if option == "-Q" for queue in value.split(",")}
    assert set(task_queue.QUEUES.values()) | {entry["options"]["queue"] for entry in SCHEDULE.values()} <= consumed


def test_every_scheduled_or_published_task_is_registered():
    """Some tasks are registered only in the analysis worker."""
    import_module(commands.ANALYSIS_TASKS)
    assert set(task_queue.QUEUES) | {entry["task"] for entry in SCHEDULE.values()} <= set(current_app.tasks)


def test_hypothesis_has_one_profile_without_a_deadline():
    """Only `tests/conftest.py` registers a profile. No test sets a deadline or suppresses a health check."""
    profile_calls = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            function = ast.unparse(call.func)
            has_own = {"deadline", "suppress_health_check"} & {keyword.arg for keyword in call.keywords}
            if has_own or function.endswith((".register_profile", ".load_profile")):
                profile_calls.add((str(path.relative_to(ROOT)), function))
    assert profile_calls == {("tests/conftest.py", f"settings.{verb}_profile") for verb in ("register", "load")}
    assert hypothesis.settings().deadline is None
