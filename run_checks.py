"""
Run every check of the project, cheapest first, and print the duration of each. `make test` runs this script.

A failed check does not stop the others, so one run reports every failure. Warnings count as failures. With
`--coverage`, run the tests only, and require that they run every line and branch (see pyproject.toml).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PYTEST = ["-m", "pytest", "-q"]
TWO_PROCESSES = ["-n", "2", "--dist", "worksteal"]
COVERAGE = ["-m", "coverage"]
# `loadfile` runs a file in one process only: each starts servers of its own. Without the option, the files with the
# fewest tests would be started last, and these take longest.
FILE_BY_FILE = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
SERVER_SUITES = ["journeys", "browser", "inputs", "attacks"]
FAST_SUITES = ["unit", "spec", "generative", "integration", "kernel", "architecture"]

Check = tuple[str, list[str], dict[str, str]]
CHECKS: list[Check] = [
    ("format", [str(BIN / "ruff"), "format", "--check", "-q", "."], {}),
    ("lint", [str(BIN / "ruff"), "check", "-q", "."], {}),
    ("import rules", [str(BIN / "lint-imports")], {}),
    ("types", [sys.executable, "-m", "mypy"], {}),
    ("migrations", [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], {}),
    ("Django", [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"], {}),
    ("OpenAPI", [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull], {}),
]
TESTS: list[Check] = [
    ("tests on SQLite", [*PYTEST, *TWO_PROCESSES, *(f"tests/{suite}" for suite in FAST_SUITES)], {}),
    (
        "tests on PostgreSQL",
        [*PYTEST, *TWO_PROCESSES, "tests/spec/test_sources.py", "tests/spec/test_filters.py", "tests/integration"],
        {"TEST_DATABASE": "postgresql"},
    ),
    ("journeys, browser, inputs and attacks", [*PYTEST, *FILE_BY_FILE, *(f"tests/{s}" for s in SERVER_SUITES)], {}),
    ("faults", [*PYTEST, *FILE_BY_FILE, "tests/faults"], {}),
]


def select_checks(*, with_coverage: bool) -> list[Check]:
    """Return the checks to run: all of them, or the tests with a measurement of their coverage."""
    if not with_coverage:
        return [*CHECKS, *((name, [sys.executable, *command], variables) for name, command, variables in TESTS)]
    return [
        ("erase coverage", [sys.executable, *COVERAGE, "erase"], {}),
        *((name, [sys.executable, *COVERAGE, "run", *command], variables) for name, command, variables in TESTS),
        ("combine coverage", [sys.executable, *COVERAGE, "combine", "-q"], {}),
        ("coverage", [sys.executable, *COVERAGE, "report"], {}),
    ]


def main() -> int:
    """Run the checks; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description="Run every check of the project.")
    parser.add_argument("--coverage", action="store_true", help="run the tests only, and measure their coverage")
    checks = select_checks(with_coverage=parser.parse_args().coverage)
    env = os.environ | {"SECRET_KEY": "for-checks-only-" + "x" * 40, "DATABASE_URL": "sqlite://:memory:"}
    failed = []
    for name, command, variables in checks:
        start = time.monotonic()
        print(f"── {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, env=env | variables, check=False).returncode:
            failed.append(name)
        print(f"   {name}: {'FAILED' if name in failed else 'ok'}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"Failed checks: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
