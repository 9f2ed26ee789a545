"""
Injects faults into the real service, checks the history, and prints the table for docs/failures.md.

    python -m tests.faults --seconds 600 --database postgresql --seed 7
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import tests.conftest  # noqa: F401  # sets the environment of Django
from tests.faults.run import format_table, run_faults


def main() -> int:
    """Run the faults on each database. Return 1 if a guarantee was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    arguments = parser.parse_args()
    runs = []
    for database in arguments.database or ["sqlite", "postgresql"]:
        folder = Path(tempfile.mkdtemp(prefix=f"recsys-faults-{database}-"))
        print(f"{database}, seed {arguments.seed}: logs and history in {folder}", file=sys.stderr)
        run = run_faults(
            folder,
            database=database,
            seed=arguments.seed,
            seconds=arguments.seconds,
            report=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
        )
        runs.append(run)
        print(f"  remaining work: {run.work_seconds:.0f} s; ended by themselves: {run.own_ends}", file=sys.stderr)
        for violation in run.violations:
            print(f"  VIOLATION: {violation.guarantee}: {violation.detail}", file=sys.stderr)
    print(format_table(runs))
    return 1 if any(run.violations for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
