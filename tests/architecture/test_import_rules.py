"""The rules that no tool holds by itself, and that the tools do hold theirs."""

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
    "a wing that knows another": (
        "recommendations/engines/plain.py",
        "from recommendations.stores import memory_slates",
    ),
    "a road that knows Django": ("recommendations/pipeline/run.py", "import django.conf"),
    "a door that goes past the services": ("recommendations/tasks.py", "from recommendations.models import Post"),
    "a service on the kernel": ("recommendations/services/learning/learn.py", "import wasm"),
    "a flag that knows recommendations": ("flags/services/change.py", "from recommendations import contracts"),
    "keys that know a flag": ("access/keys.py", "import flags.models"),
    "a service that asks for a flag in its own way": (
        "recommendations/services/serving/query.py",
        "from flags.services.evaluate import evaluate",
    ),
    "a door that writes flags": ("flags/admin/base.py", "from flags.models.guarded import writing"),
    "a file without a place": ("recommendations/elsewhere.py", "import math"),
}


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_planted_arrow_is_seen(what, tmp_path):
    """import-linter refuses what the house forbids."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    file, line = VIOLATIONS[what]
    path = tmp_path / file
    path.write_text(line + "\n" + (path.read_text() if path.exists() else ""))
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path):
    """A module with code opens with a sentence, and has a name that says something."""
    tree = ast.parse(path.read_text())
    has_code = any(not isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
    if has_code and "migrations" not in path.parts and path.name not in ("apps.py",):
        assert ast.get_docstring(tree), "no docstring"
    assert path.stem not in VAGUE_NAMES


def test_every_queue_has_a_worker():
    """What is asked for is worked on: a queue without a worker keeps its tasks for ever."""
    words = [word for command in commands.server_commands(StackState()).values() for word in command]
    consumed = {queue for option, value in itertools.pairwise(words) if option == "-Q" for queue in value.split(",")}
    assert set(task_queue.QUEUES.values()) | {entry["options"]["queue"] for entry in SCHEDULE.values()} <= consumed


def test_every_name_has_a_task():
    """A name in the schedule, or one that work is asked for by, is registered; some in the analysis worker alone."""
    import_module(commands.ANALYSIS_TASKS)
    assert set(task_queue.QUEUES) | {entry["task"] for entry in SCHEDULE.values()} <= set(current_app.tasks)


def test_hypothesis_has_one_profile_without_a_deadline():
    """`tests/conftest.py` registers it; no test sets a deadline, suppresses a health check or loads another."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            has_own = {"deadline", "suppress_health_check"} & {keyword.arg for keyword in call.keywords}
            if has_own or called.endswith((".register_profile", ".load_profile")):
                found.add((str(path.relative_to(ROOT)), called))
    assert found == {("tests/conftest.py", f"settings.{what}_profile") for what in ("register", "load")}
    assert hypothesis.settings().deadline is None
