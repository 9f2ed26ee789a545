"""
Run the short forms of benchmarks, store their results, and compare them with those of the last run.

    python -m benchmarks.compare [NAME ...]

Without names it runs those that need no further packages. The results are in var/benchmark/results. A time is compared
in units of the bare view of the same run, so that a busier machine is not a regression. A time that is more than a
tenth longer than last time is reported if its quartiles do not overlap those of last time. The exit code is 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys_project.environment import ROOT

RESULTS = ROOT / "var" / "benchmark" / "results"
DEFAULT_NAMES = ("feed", "endpoints")
UNIT = "bare view"
"""The row whose median is the unit of the other rows of a benchmark."""
MAX_RATIO = 1.1
Row = dict[str, float]


def find_rows(results: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Yield each row of results that has a median and quartiles, with the names that lead to it."""
    if not isinstance(results, dict):
        return
    if {"p25", "p50", "p75"} <= results.keys():
        yield path, results
    for name, part in results.items():
        yield from find_rows(part, (*path, name))


def in_units(results: Any) -> dict[str, Row]:
    """Return the rows by name, in units of the bare view; as they are if there is none."""
    rows = dict(find_rows(results))
    unit = next((row["p50"] for path, row in rows.items() if UNIT in path), 1.0)
    return {" / ".join(path): {name: row[name] / unit for name in ("p25", "p50", "p75")} for path, row in rows.items()}


def find_regressions(last: Any, current: Any) -> list[str]:
    """Return a line for each row of *current* that takes longer than in the *last* results."""
    before, now = in_units(last), in_units(current)
    return [
        f"{name}: {before[name]['p50']:.2f} → {row['p50']:.2f} ({row['p50'] / before[name]['p50'] - 1:+.0%})"
        for name, row in now.items()
        if name in before and row["p50"] > MAX_RATIO * before[name]["p50"] and row["p25"] > before[name]["p75"]
    ]


def run_benchmark(name: str, file: Path) -> None:
    """Run the short form of a benchmark, and compare its results with those in *file*, which it replaces."""
    last = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)], cwd=ROOT, check=True)
    regressions = find_regressions(last, json.loads(file.read_text(encoding="utf-8")))
    summary = "slower than last time:" if regressions else "nothing is slower than last time" if last else "no last run"
    print("\n  ".join([f"\n{name}: {summary}", *regressions]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT_NAMES, metavar="NAME", help="such as feed")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names:
        run_benchmark(name, RESULTS / f"{name}.json")


if __name__ == "__main__":
    main()
