"""
Every check of the project, in the order of their cost, with the time of each: what `make test` runs.

A check that fails does not stop the others: all that is wrong is said in one go. Nothing may warn.
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
    ("tests on SQLite", [*PYTEST, "-n", "2", *(f"tests/{kind}" for kind in FAST_SUITES)], {}),
    (
        "tests on PostgreSQL",
        [*PYTEST, "-n", "2", "tests/spec", "tests/integration"],
        {"TEST_DATABASE": "postgresql"},
    ),
    ("browser and journeys", [*PYTEST, "tests/browser", "tests/journeys"], {}),
]


def main() -> int:
    """Run every check; return 1 if one failed."""
    env = os.environ | {"SECRET_KEY": "for-checks-only-" + "x" * 32, "DATABASE_URL": "sqlite://:memory:"}
    failed = []
    for name, command, more in CHECKS:
        start = time.monotonic()
        print(f"── {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, env=env | more, check=False).returncode:
            failed.append(name)
        print(f"   {name}: {'FAILED' if name in failed else 'ok'}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"Failed: {', '.join(failed)}" if failed else "Every check passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
