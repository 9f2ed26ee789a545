"""
Run every check of the project, cheapest first, and print the duration of each. `make test` runs this script.

A failed check does not stop the others, so one run reports every failure. Warnings count as failures. Types are checked
beside the other cheap checks, which use one processor. The soak test takes five minutes and waits for most of them, so
it runs beside the tests that wait for servers, and its output comes last. With `--coverage`, run the tests only, and
require that they run every line and branch (see pyproject.toml).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PYTEST = ["-m", "pytest", "-q"]
TWO_PROCESSES = ["-n", "2", "--dist", "worksteal"]
COVERAGE = ["-m", "coverage"]
# `loadfile` runs a file in one process only: each starts servers of its own. Without the option, the files with the
# fewest tests would be started last, and these take longest.
FILE_BY_FILE = ["--dist", "loadfile", "--no-loadscope-reorder"]
SERVER_SUITES = ["journeys", "browser", "inputs", "attacks"]
FAST_SUITES = ["unit", "spec", "generative", "integration", "kernel", "architecture"]

Check = tuple[str, list[str], dict[str, str]]
CHECKS: list[Check] = [
    ("format", [str(BIN / "ruff"), "format", "--check", "-q", "."], {}),
    ("lint", [str(BIN / "ruff"), "check", "-q", "."], {}),
    ("import rules", [str(BIN / "lint-imports")], {}),
    ("migrations", [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], {}),
    ("Django", [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"], {}),
    ("OpenAPI", [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull], {}),
]
TYPES: Check = ("types", [sys.executable, "-m", "mypy"], {})
FAST_TESTS: list[Check] = [
    ("tests on SQLite", [*PYTEST, *TWO_PROCESSES, *(f"tests/{suite}" for suite in FAST_SUITES)], {}),
    (
        "tests on PostgreSQL",
        [*PYTEST, *TWO_PROCESSES, "tests/spec/test_sources.py", "tests/spec/test_filters.py", "tests/integration"],
        {"TEST_DATABASE": "postgresql"},
    ),
]
# Three processes, because these tests wait for servers and browsers for a third of their time. Those of faults measure
# how soon the service recovers, so they get a processor each.
SERVER_TESTS: list[Check] = [
    (
        "journeys, browser, inputs and attacks",
        [*PYTEST, "-n", "3", *FILE_BY_FILE, *(f"tests/{suite}" for suite in SERVER_SUITES)],
        {},
    ),
    ("faults", [*PYTEST, "-n", "2", *FILE_BY_FILE, "tests/faults", "--ignore=tests/faults/test_soak.py"], {}),
]
SOAK: Check = ("soak", [*PYTEST, "tests/faults/test_soak.py"], {})
COVERAGE_REPORT: list[Check] = [
    ("combine coverage", [sys.executable, *COVERAGE, "combine", "-q"], {}),
    ("coverage", [sys.executable, *COVERAGE, "report"], {}),
]


def main() -> int:
    """Run the checks; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description="Run every check of the project.")
    parser.add_argument("--coverage", action="store_true", help="run the tests only, and measure their coverage")
    with_coverage = parser.parse_args().coverage
    python = [sys.executable, *COVERAGE, "run"] if with_coverage else [sys.executable]
    failed = run_all([("erase coverage", [sys.executable, *COVERAGE, "erase"], {})]) if with_coverage else check_code()
    failed += run_tests(FAST_TESTS, python)
    since = time.monotonic()
    with tempfile.TemporaryFile() as output, start([*python, *SOAK[1]], SOAK[2], stdout=output, stderr=output) as soak:
        failed += run_tests(SERVER_TESTS, python)
        if not report(SOAK[0], soak, since):
            failed.append(SOAK[0])
        output.seek(0)
        print(output.read().decode(), flush=True)
    failed += run_all(COVERAGE_REPORT if with_coverage else [])
    print(f"Failed checks: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


def check_code() -> list[str]:
    """Run the checks that are no tests. Return the names of those that failed."""
    since = time.monotonic()
    with start(TYPES[1], TYPES[2]) as types:
        failed = run_all(CHECKS)
        return failed if report(TYPES[0], types, since) else [*failed, TYPES[0]]


def run_tests(tests: list[Check], python: list[str]) -> list[str]:
    """Run tests with a Python command. Return the names of those that failed."""
    return run_all([(name, [*python, *command], variables) for name, command, variables in tests])


def run_all(checks: list[Check]) -> list[str]:
    """Run checks one after the other. Return the names of those that failed."""
    return [
        name for name, command, variables in checks if not report(name, start(command, variables), time.monotonic())
    ]


def start(command: list[str], variables: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command with *variables* in its environment."""
    env = os.environ | {"SECRET_KEY": "for-checks-only-" + "x" * 40, "DATABASE_URL": "sqlite://:memory:"}
    return subprocess.Popen(command, cwd=ROOT, env=env | variables, **options)


def report(name: str, process: subprocess.Popen[bytes], since: float) -> bool:
    """Wait for a check that runs, and print its name, result and duration. Return whether it passed."""
    print(f"── {name}", flush=True)
    has_passed = process.wait() == 0
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"   {name}: {'ok' if has_passed else 'FAILED'}, {time.monotonic() - since:.0f} s;"
        f" processor time of all checks so far: {cpu.ru_utime + cpu.ru_stime:.0f} s",
        flush=True,
    )
    return has_passed


if __name__ == "__main__":
    sys.exit(main())
