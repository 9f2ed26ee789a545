"""
Two versions of the code run on one database and one Redis, as during an upgrade without a pause.

The database has the schema of the new version: its migrations run first. PREVIOUS_VERSION names the other version:
by default the newest tag of a release, or else the commit before the newest migration.
"""

import os
import shutil
import subprocess

import pytest

from tests.faults.run import run_faults
from tests.previous_version import find_previous_version, git
from tests.servers import ROOT, skip_or_fail

SECONDS = 30


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """A folder with the previous version, which uses the packages of this one."""
    try:
        version = os.environ.get("PREVIOUS_VERSION") or find_previous_version()
    except (OSError, subprocess.CalledProcessError) as error:
        skip_or_fail(f"This clone has no history: {error}")
    folder = tmp_path_factory.mktemp("previous") / "code"
    git("worktree", "add", "--detach", str(folder), version)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    yield folder
    git("worktree", "remove", "--force", str(folder))


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_versions_serve_and_lose_nothing(database, previous, folder):
    run = run_faults(folder, database=database, seed=1, seconds=SECONDS, previous=previous)
    assert run.violations == []
    assert run.own_ends == {}
    logs = {path.name: path.read_text(errors="replace") for path in folder.glob("*.log")}
    assert "old-worker-batch.log" in logs
    assert not [line for log in logs.values() for line in log.splitlines() if '"level":"error"' in line]
    shutil.rmtree(folder)
