"""
Measure the overhead of metrics: the same fresh feeds with and without metrics, alternately, in one process.

    python -m benchmarks.metrics_overhead [--quick] [--json FILE]

Uses the platform of benchmarks/feed.py. Metrics are written to a shared folder, as with several processes, which is
slower than in memory. Each member's slate is built twice in a row, alternately with metrics first and second, so that
both have equally warm caches. The overhead compares the medians; its interval is a bootstrap over members.
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

    from monitoring import clock, extensions, query_timing  # noqa: PLC0415
    from recommendations.models import Member  # noqa: PLC0415
    from recommendations.services import wiring  # noqa: PLC0415
    from recommendations.services.serving import recommend  # noqa: PLC0415

    extensions.load_all()  # as in a web process, which times queries
    known = Member.objects.filter(interests__isnull=False).order_by("pk").values_list("external_id", flat=True)
    members = list(known[:: max(known.count() // rounds, 1)][:rounds])
    times: dict[str, list[float]] = {"with": [], "without": []}

    def time_feed(member: str) -> float:
        wiring.slate_cache()._client.flushdb()
        start = time.perf_counter()
        recommend.recommend(member_id=member, limit=LIMIT, now=clock.now())
        return (time.perf_counter() - start) * 1000

    def time_feed_without_metrics(member: str) -> float:
        connection.execute_wrappers.remove(query_timing.time_query)
        try:
            with patch.object(recommend, "observe_page", lambda *_, **__: None):
                return time_feed(member)
        finally:
            connection.execute_wrappers.append(query_timing.time_query)

    for member in members[:20]:
        time_feed(member)
    for number, member in enumerate(members):
        order = ("with", "without") if number % 2 else ("without", "with")
        for case in order:
            times[case].append((time_feed if case == "with" else time_feed_without_metrics)(member))
    return times


def overhead(times: dict[str, list[float]]) -> dict[str, float]:
    """Return both medians, the overhead in percent, and its 95 % bootstrap interval over members."""
    pairs = np.array([times["with"], times["without"]])
    draws = np.random.default_rng(1).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))
    medians = np.median(pairs[:, draws], axis=2)
    low, high = np.quantile(100 * (medians[0] / medians[1] - 1), [0.025, 0.975])
    with_metrics, without_metrics = (statistics.median(case) for case in pairs.tolist())
    return {
        "with_ms": with_metrics,
        "without_ms": without_metrics,
        "overhead_percent": 100 * (with_metrics / without_metrics - 1),
        "paired_percent": 100 * float(np.median(pairs[0] - pairs[1])) / without_metrics,
        "low_percent": float(low),
        "high_percent": float(high),
        "feeds": float(pairs.shape[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a tenth of the platform and 200 members")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to this file")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_child(options.child)))
        return
    folder, port = ROOT / "var" / "benchmark", free_port()
    folder.mkdir(parents=True, exist_ok=True)
    redis = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as metrics_folder,
        run_server(redis, port, dict(os.environ), folder / "redis.log"),
    ):
        env = prepare_platform(QUICK if options.quick else FULL, None, port) | {
            "PROMETHEUS_MULTIPROC_DIR": metrics_folder
        }
        command = [sys.executable, "-m", "benchmarks.metrics_overhead", "--child", "200" if options.quick else "1000"]
        completed = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    result = overhead(json.loads(completed.stdout))
    print(
        "fresh feed, median: {with_ms:.2f} ms with metrics, {without_ms:.2f} ms without: {overhead_percent:+.1f} % "
        "(95 %: {low_percent:+.1f} to {high_percent:+.1f}); median of paired differences {paired_percent:+.1f} %; "
        "{feeds:.0f} feeds each".format(**result)
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
