"""
CONTRIBUTING's recipes, followed literally.

They are applied to a copy of the repository, which then serves, explains and replays.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe_blocks import apply_block, copied_files, read_blocks

ROOT = Path(__file__).resolve().parents[2]
JOURNEY = "tests/integration/test_recipe_journey.py"
CONFORMANCE = [f"tests/spec/test_{part}.py" for part in ("sources", "filters", "scorers", "rerankers", "engines")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the repository in which every recipe has been followed."""
    root = tmp_path_factory.mktemp("recipes") / "copy"
    for path in copied_files(ROOT):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / path)
    for block in read_blocks(root / "CONTRIBUTING.md"):
        apply_block(root, block)
    (root / JOURNEY).write_text((root / "tests/recipe_journey.py").read_text())
    return root


def run(root, *command):
    """Run a command in the copy. It must succeed."""
    env = os.environ | {"PYTHONPATH": str(root), "HYPOTHESIS_STORAGE_DIRECTORY": str(root / ".hypothesis")}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def test_every_recipe_has_blocks():
    paths = [block.path for block in read_blocks(ROOT / "CONTRIBUTING.md")]
    assert len(paths) >= 25
    assert {path.split("/")[2] for path in paths if path.startswith("recommendations/pipeline")} == {
        "sources",
        "filters",
        "scorers",
        "rerankers",
    }


def test_the_new_components_pass_the_conformance_tests(copy):
    run(copy, "pytest", "-q", "-p", "no:randomly", *CONFORMANCE)


def test_pages_explanations_replays_and_the_admin_work_with_the_new_components(copy):
    run(copy, "pytest", "-q", JOURNEY)
