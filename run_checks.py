"""
Run every check of the project, cheapest first, and print the duration of each. `make test` runs this script.

A failed check does not stop the others, so one run reports every failure. Warnings count as failures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest", "-q"]
FAST_SUITES = ["unit", "spec", "generative", "integration", "kernel", "architecture"]

Check = tuple[str, list[str], dict[str, str]]
CHECKS: list[Check] = [
    ("format", [str(BIN / "ruff"), "format", "--check", "-q", "."], {}),
    ("lint", [str(BIN / "ruff"), "check", "-q", "."], {}),
    ("import rules", [str(BIN / "lint-imports")], {}),
    ("types", [sys.executable, "-m", "mypy"], {}),
    ("migrations", [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], {}),
    ("Django", [sys.executable, "manage.py", "check", "--fail-level", "WARNING"], {}),
    ("OpenAPI", [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull], {}),
    ("tests on SQLite", [*PYTEST, "-n", "2", *(f"tests/{suite}" for suite in FAST_SUITES)], {}),
    (
        "tests on PostgreSQL",
        [*PYTEST, "-n", "2", "tests/spec", "tests/integration"],
        {"TEST_DATABASE": "postgresql"},
    ),
    ("browser and journeys", [*PYTEST, "tests/browser", "tests/journeys"], {}),
]


def main() -> int:
    """Run every check; return 1 if a check failed."""
    env = os.environ | {"SECRET_KEY": "for-checks-only-" + "x" * 32, "DATABASE_URL": "sqlite://:memory:"}
    failed = []
    for name, command, variables in CHECKS:
        start = time.monotonic()
        print(f"── {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, env=env | variables, check=False).returncode:
            failed.append(name)
        print(f"   {name}: {'FAILED' if name in failed else 'ok'}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"Failed checks: {', '.join(failed)}" if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
