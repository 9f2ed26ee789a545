"""
Run mixed traffic for an hour and measure whether anything grows: memory, descriptors, Redis, the database, latency.

    python -m benchmarks.soak [--quick] [--seconds N] [--database sqlite|postgresql] [--json FILE]

The processes and the clients are those of `tests/faults`, without faults: two web servers, two workers and beat; pages,
events, changes of preferences, relationships, posts and members, and jobs. A sample is taken every few seconds. After
a warm-up of a fifth of the time, the median of the first quarter of the samples is compared with that of the last
quarter. Traffic adds rows to the database, so its size is measured per row. --quick takes five minutes.
--json also writes the samples. Returns 1 if something has grown by more than 5 % and more than its noise (`NOISE`), or
if a request failed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import redis

import tests.conftest  # noqa: F401  # sets the environment of Django
from monitoring.samples import STREAM
from tests.faults.database import Database
from tests.faults.history import Outcome
from tests.faults.run import deployment
from tests.faults.traffic import Clients

QUICK_SECONDS, FULL_SECONDS = 300, 3_600
WARM_UP_SHARE = 0.2
MAX_GROWTH = 0.05
NOISE = {"memory": 2e6, "descriptors": 5.0, "redis": 2e5, "database": 20.0, "p99": 50.0}
"""Growth below this is noise: bytes, descriptors, bytes, bytes per row, milliseconds."""
SAMPLES = 120
SLOWNESS = 4.0
"""Pauses are longer than in the tests with faults, so that two busy cores keep up: a backlog would grow."""

Sample = Mapping[str, float]


def measure(seconds: float, database: str, folder: Path, *, slowness: float = SLOWNESS) -> tuple[list[Sample], int]:
    """Run the traffic. Return the samples after the warm-up, and how many requests were not answered right."""
    samples: list[Sample] = []
    with deployment(folder, database, None) as service, redis.Redis.from_url(service.env["CACHE_REDIS_URL"]) as client:
        clients = Clients(service.ports, service.key, seed=1, slowness=slowness)
        rows = Database(service.database_url)
        clients.set_up()
        clients.start()
        start, seen = time.monotonic(), len(clients.history.answers)
        while (elapsed := time.monotonic() - start) < seconds:
            time.sleep(seconds / SAMPLES)
            answers = clients.history.answers[seen:]
            seen += len(answers)
            if elapsed < WARM_UP_SHARE * seconds:
                continue
            redis_bytes = client.info("memory")["used_memory"] - (client.memory_usage(STREAM, samples=0) or 0)
            sample = {"redis": float(redis_bytes), "database": rows.bytes_per_row()}
            pages = [1000 * (answer.end - answer.start) for answer in answers if answer.operation == "feed"]
            if len(pages) > 1:
                sample["p99 of feeds, ms"] = statistics.quantiles(pages, n=100)[-1]
            for name, server in service.processes.items():
                memory, descriptors = measure_family(server.family())
                if name != "postgres":  # its processes open each file of a table at the first use, up to a limit
                    sample[f"descriptors of {name}"] = descriptors
                if name != "redis":  # what it stores is measured, without the samples that it keeps for an hour
                    sample[f"memory of {name}"] = memory
            samples.append(sample)
        clients.stop()
        answers = clients.history.answers
    return samples, sum(answer.outcome is not Outcome.RIGHT for answer in answers)


def measure_family(family: Iterable[psutil.Process]) -> tuple[float, float]:
    """
    Return the bytes of memory and the descriptors of processes. One that ends at this moment has none.

    Memory that n processes share counts as an n-th for each (the proportional set size).
    """
    memory = descriptors = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            size, count = process.memory_full_info().pss, process.num_fds()
            memory, descriptors = memory + size, descriptors + count
    return float(memory), float(descriptors)


def compare(samples: Sequence[Sample]) -> dict[str, dict[str, float | bool]]:
    """Return for each figure the medians of the first and the last quarter, and whether it is flat."""
    quarter = max(len(samples) // 4, 1)
    report: dict[str, dict[str, float | bool]] = {}
    for name in samples[-1]:
        first, last = (
            statistics.median(sample[name] for sample in part if name in sample)
            for part in (samples[:quarter], samples[-quarter:])
        )
        growth = last - first
        is_flat = growth <= max(MAX_GROWTH * first, NOISE[name.split()[0]])
        report[name] = {"first": first, "last": last, "growth": growth / first if first else 0.0, "is_flat": is_flat}
    return report


def main() -> int:
    """Print the report as a table. Return 1 if something grows or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else FULL_SECONDS)
    samples, failed = measure(seconds, arguments.database, Path(tempfile.mkdtemp(prefix="recsys-soak-")))
    report = compare(samples)
    print(f"{seconds:.0f} s on {arguments.database}, {len(samples)} samples, {failed} requests not answered right\n")
    print("| figure | first quarter | last quarter | growth | flat |\n|---|---|---|---|---|")
    for name, row in report.items():
        flat = "yes" if row["is_flat"] else "**no**"
        print(f"| {name} | {row['first']:,.0f} | {row['last']:,.0f} | {row['growth']:+.1%} | {flat} |")
    if arguments.json:
        document = {"seconds": seconds, "failed": failed, "figures": report, "samples": samples}
        arguments.json.write_text(json.dumps(document, indent=2))
    return 1 if failed or not all(row["is_flat"] for row in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
