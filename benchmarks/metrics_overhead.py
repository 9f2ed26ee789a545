"""
What counting costs a fresh feed: the same feeds with and without metrics, in turn, in one process.

    python -m benchmarks.metrics_overhead [--quick] [--json FILE]

The platform is that of benchmarks/feed.py. Metrics are counted into a shared folder, as in a deployment of several
processes, which is the slower way. Each member's slate is made twice in a row, with metrics first or second in turn, so
that a pair has the same warmth; the overhead is that of the medians, and its spread is by bootstrap over members.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.feed import FULL, LIMIT, QUICK, free_port, prepare_platform, run_server
from recsys_project.environment import ROOT
from recsys_project.stack.redis import find_binary

DRAWS = 2_000


def run_child(rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each member's feed, with and without metrics."""
    # Models and services can be imported only once Django is set up.
    import django  # noqa: PLC0415

    django.setup()
    from django.db import connection  # noqa: PLC0415

    from monitoring import clock, query_timing  # noqa: PLC0415
    from recommendations.models import Member  # noqa: PLC0415
    from recommendations.services import wiring  # noqa: PLC0415
    from recommendations.services.serving import recommend  # noqa: PLC0415

    known = Member.objects.filter(interests__isnull=False).order_by("pk").values_list("external_id", flat=True)
    members = list(known[:: max(known.count() // rounds, 1)][:rounds])
    times: dict[str, list[float]] = {"with": [], "without": []}

    def ask(member: str) -> float:
        wiring.slate_cache()._client.flushdb()
        start = time.perf_counter()
        recommend.recommend(member_id=member, limit=LIMIT, now=clock.now())
        return (time.perf_counter() - start) * 1000

    def without(member: str) -> float:
        connection.execute_wrappers.remove(query_timing.time_query)
        try:
            with patch.object(recommend, "observe_page", lambda *_, **__: None):
                return ask(member)
        finally:
            connection.execute_wrappers.append(query_timing.time_query)

    for member in members[:20]:
        ask(member)
    for number, member in enumerate(members):
        order = ("with", "without") if number % 2 else ("without", "with")
        for which in order:
            times[which].append((ask if which == "with" else without)(member))
    return times


def overhead(times: dict[str, list[float]]) -> dict[str, float]:
    """Return both medians, the overhead in percent, and its 95 % interval by bootstrap over members."""
    pairs = np.array([times["with"], times["without"]])
    draws = np.random.default_rng(1).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))
    medians = np.median(pairs[:, draws], axis=2)
    low, high = np.quantile(100 * (medians[0] / medians[1] - 1), [0.025, 0.975])
    counted, bare = (statistics.median(one) for one in pairs.tolist())
    return {
        "with_ms": counted,
        "without_ms": bare,
        "overhead_percent": 100 * (counted / bare - 1),
        "paired_percent": 100 * float(np.median(pairs[0] - pairs[1])) / bare,
        "low_percent": float(low),
        "high_percent": float(high),
        "feeds": float(pairs.shape[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the platform and 200 members")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here, too")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_child(options.child)))
        return
    folder, port = ROOT / "var" / "benchmark", free_port()
    folder.mkdir(parents=True, exist_ok=True)
    redis = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as counted,
        run_server(redis, port, dict(os.environ), folder / "redis.log"),
    ):
        env = prepare_platform(QUICK if options.quick else FULL, None, port) | {"PROMETHEUS_MULTIPROC_DIR": counted}
        command = [sys.executable, "-m", "benchmarks.metrics_overhead", "--child", "200" if options.quick else "1000"]
        asked = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    found = overhead(json.loads(asked.stdout))
    print(
        "fresh feed, median: {with_ms:.2f} ms with metrics, {without_ms:.2f} ms without: {overhead_percent:+.1f} % "
        "(95 %: {low_percent:+.1f} to {high_percent:+.1f}); median of paired differences {paired_percent:+.1f} %; "
        "{feeds:.0f} feeds each".format(**found)
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
