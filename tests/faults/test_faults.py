"""
The service under random faults keeps its guarantees, on both databases.

FAULT_SECONDS is the length of a run and FAULT_SEED its seed. `make nightly` takes the day as its seed, so that it does
not run the same faults every day. `python -m tests.faults` runs the same and prints a table.
"""

import os
import shutil

import pytest

from tests.faults.run import run_faults

SECONDS = float(os.environ.get("FAULT_SECONDS", "30"))
SEED = int(os.environ.get("FAULT_SEED", "1"))


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_guarantee_is_broken_under_faults(database, folder):
    run = run_faults(folder, database=database, seed=SEED, seconds=SECONDS)
    assert not run.violations, f"FAULT_SEED={SEED} FAULT_SECONDS={SECONDS:.0f}: {run.violations[:20]}"
    operations = {answer.operation for answer in run.history.answers if answer.outcome == "right"}
    assert operations >= {"feed", "events", "preferences", "relationships", "posts", "members", "jobs"}
    assert run.history.faults and run.history.pages and run.history.marks
    shutil.rmtree(folder)
