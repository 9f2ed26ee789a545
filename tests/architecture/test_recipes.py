"""
CONTRIBUTING's recipes, followed literally.

They are applied to a copy of the repository, which then serves, explains, replays, counts and runs a job.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe_blocks import apply_block, copied_files, read_blocks, read_commands

ROOT = Path(__file__).resolve().parents[2]
JOURNEY = "tests/integration/test_recipe_journey.py"
COMPONENTS = ("sources", "filters", "scorers", "rerankers", "engines", "store_twins", "click_counts")
CONFORMANCE = [f"tests/spec/test_{part}.py" for part in COMPONENTS]
NEW_COMPONENTS = ("LongReads", "is_tagged", "tagged", "swap", "traced", "RedisClickCounts", "MemoryClickCounts")
"""As the names of tests have them. The tests of the other components run in this repository."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the repository in which every recipe has been followed."""
    root = tmp_path_factory.mktemp("recipes") / "copy"
    for path in copied_files(ROOT):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / path)
    for block in read_blocks(root / "CONTRIBUTING.md"):
        apply_block(root, block)
    for command in read_commands(root / "CONTRIBUTING.md"):
        manage(root, *command.split())
    (root / JOURNEY).write_text((root / "tests/recipe_journey.py").read_text())
    return root


def run(root, *command, **env):
    """Run a command of Python in the copy. It must succeed. Return its output."""
    paths = {"PYTHONPATH": str(root), "HYPOTHESIS_STORAGE_DIRECTORY": str(root / ".hypothesis")}
    env = os.environ | paths | env
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run([sys.executable, *command], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    return done.stdout


def manage(root, *command):
    """Run a command of `manage.py` in the copy, on an empty database in memory. It must succeed."""
    run(root, "manage.py", *command, DATABASE_URL="sqlite://:memory:")


def test_every_recipe_has_blocks():
    recipes = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Recipes\n")[2].split("\n### ")[1:]
    assert [recipe.partition("\n")[0] for recipe in recipes if "```python\n" not in recipe] == []
    paths = [block.path for block in read_blocks(ROOT / "CONTRIBUTING.md")]
    assert len(paths) >= 40
    assert {path.split("/")[2] for path in paths if path.startswith("recommendations/pipeline")} == {
        "sources",
        "filters",
        "scorers",
        "rerankers",
    }


def test_the_new_components_pass_the_conformance_tests(copy):
    output = run(copy, "-m", "pytest", "-v", "-k", " or ".join(NEW_COMPONENTS), *CONFORMANCE)
    assert [name for name in NEW_COMPONENTS if name not in output] == []


def test_the_migrations_are_complete(copy):
    manage(copy, "makemigrations", "--check", "--dry-run")


@pytest.mark.nightly
def test_pages_explanations_replays_jobs_and_the_admin_work_with_the_new_components(copy):
    run(copy, "-m", "pytest", "-q", JOURNEY)
