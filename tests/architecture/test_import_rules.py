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
PACKAGES = ("recsys_project", "recommendations", "flags", "access", "monitoring", "wasm", "values")
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


INSERTS = ("create", "acreate", "bulk_create", "abulk_create", "get_or_create", "update_or_create")
INTERACTION_WRITER = ROOT / "recommendations/services/learning/store_interactions.py"


def find_interaction_inserts(source):
    """Return the calls that may insert rows of `Interaction`: its constructor, its managers, and bulk insertion."""
    tree = ast.parse(source)
    imported = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = {alias.asname or alias.name for alias in imported if alias.name == "Interaction"}
    models = names | {"models.Interaction"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if inserts_interactions(call, models)]


def inserts_interactions(call, models):
    function = ast.unparse(call.func)
    owner, _, method = function.rpartition(".")
    is_of_interactions = any(owner.startswith(f"{model}.") for model in models) or owner.endswith(".interactions")
    is_bulk_insert = "insert" in method and any(ast.unparse(argument) in models for argument in call.args)
    return function in models or (is_of_interactions and method in INSERTS) or is_bulk_insert


def test_only_store_interactions_inserts_interactions():
    """Another writer would store interactions without their effects: seen posts, hidden posts, follows."""
    inserts = {path: find_interaction_inserts(path.read_text()) for path in SOURCES}
    assert {path: calls for path, calls in inserts.items() if calls}.keys() == {INTERACTION_WRITER}


@pytest.mark.parametrize(
    "line",
    [
        "insert_columns(Interaction, columns)",
        "bulk.insert_new_rows(Interaction, columns, {}, key=('event_id', 'member_id'))",
        "Interaction.objects.create(event_id='e')",
        "Interaction.objects.using('default').bulk_create(rows)",
        "Interaction(event_id='e').save()",
        "member.interactions.get_or_create(event_id='e')",
        "models.Interaction.objects.bulk_create(rows)",
    ],
)
def test_another_writer_of_interactions_is_found(line):
    assert find_interaction_inserts(f"from recommendations.models import Interaction\n{line}")
    aliased = line.replace("Interaction", "Row").replace("models.Row", "models.Interaction")
    assert find_interaction_inserts(f"from recommendations.models import Interaction as Row\n{aliased}")


def test_reading_or_updating_interactions_is_allowed():
    lines = "Interaction.objects.filter(pk=1).update(undone_at=now)\ninsert_columns(SeenPost, columns)"
    assert not find_interaction_inserts(f"from recommendations.models import Interaction\n{lines}")


RELATIONSHIP_WRITER = ROOT / "recommendations/services/learning/store_relationships.py"
WRITES = (*INSERTS, "update", "bulk_update", "delete", "save", "aupdate", "adelete", "asave", "add", "set", "remove")


def find_relationship_writes(source):
    """
    Return the calls that may write rows of `Relationship`: its constructor, its querysets and bulk insertion.

    A queryset that was stored in a variable counts if a variable of that name is assigned from the model.
    """
    tree = ast.parse(source)
    imported = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    models = {alias.asname or alias.name for alias in imported if alias.name == "Relationship"} | {
        "models.Relationship"
    }
    owners = set(models)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(f"{model}.objects" in ast.unparse(node.value) for model in models):
            owners |= {ast.unparse(target) for target in node.targets}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if writes_relationships(call, models, owners)]


def writes_relationships(call, models, owners):
    function = ast.unparse(call.func)
    owner, _, method = function.rpartition(".")
    is_owned = any(owner == name or owner.startswith((f"{name}.", f"{name}(")) for name in owners)
    is_related = "going_relationships" in owner or "coming_relationships" in owner
    is_bulk = ("insert" in method or "update" in method) and any(ast.unparse(arg) in models for arg in call.args)
    is_bulk |= ("insert" in function) and any(ast.unparse(arg) in models for arg in call.args)
    return function in models or ((is_owned or is_related) and method in WRITES) or is_bulk


def test_only_store_relationships_writes_relationships():
    """Another writer would let a stranger follow a private account, or store a follow beside a block."""
    writes = {path: find_relationship_writes(path.read_text()) for path in SOURCES}
    assert {path: calls for path, calls in writes.items() if calls}.keys() == {RELATIONSHIP_WRITER}


@pytest.mark.parametrize(
    "line",
    [
        "insert_columns(Relationship, columns)",
        "bulk.update_columns(Relationship, keys, columns, {})",
        "Relationship.objects.create(kind='follow')",
        "Relationship.objects.filter(pk=1).update(kind='follow')",
        "Relationship.objects.using('default').exclude(pk=1).delete()",
        "Relationship(kind='follow').save()",
        "models.Relationship.objects.bulk_create(rows)",
        "member.outgoing_relationships.filter(kind='block').delete()",
        "rows = Relationship.objects.filter(kind='follow')\nrows.filter(pk=1).delete()",
    ],
)
def test_another_writer_of_relationships_is_found(line):
    assert find_relationship_writes(f"from recommendations.models import Relationship\n{line}")


def test_reading_relationships_is_allowed():
    lines = "Relationship.objects.filter(pk=1).exists()\ninsert_columns(SeenPost, columns)\nwords.update(x)"
    assert not find_relationship_writes(f"from recommendations.models import Relationship\n{lines}")


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
            sets_up = function.split(".")[-1] == "settings" and has_own
            if sets_up or function.endswith((".register_profile", ".load_profile")):
                profile_calls.add((str(path.relative_to(ROOT)), function))
    assert profile_calls == {("tests/conftest.py", f"settings.{verb}_profile") for verb in ("register", "load")}
    assert hypothesis.settings().deadline is None


def test_no_benchmark_hides_a_module_of_the_standard_library():
    """A benchmark that is run as a script has its folder first in the search path, and imports its neighbors."""
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert "feed" in names and not names & sys.stdlib_module_names
