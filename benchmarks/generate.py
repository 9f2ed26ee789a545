"""
Measure the steps of `manage.py generate`, and compare its inserts with Django's `bulk_create`.

    python benchmarks/generate.py [--quick] [--json FILE]

Uses a new SQLite file in a temporary folder, or the PostgreSQL database of BENCHMARK_DATABASE_URL, which must be empty.
The ratio compares rows per second of the same round; median and range over the rounds.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the steps of `manage.py generate`.")
    parser.add_argument("--quick", action="store_true", help="use a tenth of the rows, for a quick check")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = f"sqlite:///{folder}/benchmark.sqlite3"
        os.environ["DATABASE_URL"] = os.environ.get("BENCHMARK_DATABASE_URL", file)
        os.environ["DEBUG"] = "1"
        os.environ["DJANGO_SETTINGS_MODULE"] = "recsys_project.settings"
        figures = measure(10 if options.quick else 1)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(divisor: int) -> dict:
    import django  # noqa: PLC0415 -- the environment must be set first
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    from django.db import connection  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    steps = generate_timed(divisor)
    return {"database": connection.vendor, "generate": steps, "interactions": compare_inserts(divisor)}


def generate_timed(divisor: int) -> dict:
    """Return the seconds of each step for 10,000 members, 100,000 posts and a million interactions."""
    from recommendations.services.content.generate import generate  # noqa: PLC0415
    from recommendations.services.content.generating.draws import PlatformSize  # noqa: PLC0415

    size = PlatformSize(10_000 // divisor, 100_000 // divisor, 1_000_000 // divisor, 150_000 // divisor, 500, 500, 7)
    marks = {"start": time.perf_counter()}

    def progress(step: str, done: int, total: int) -> None:
        marks[step] = time.perf_counter()

    generate(size=size, now=NOW, vectors=None, progress=progress)
    marks["commit"] = time.perf_counter()
    names = list(marks)
    steps = {
        # The first step includes drawing all random values.
        name: round(marks[name] - marks[before], 2)
        for before, name in pairwise(names)
    }
    return {
        "interactions": size.interactions,
        "seconds": round(marks["commit"] - marks["start"], 2),
        "seconds by step": steps,
    }


def compare_inserts(divisor: int) -> dict:
    """Return interactions per second inserted by `insert_columns` and by `bulk_create`, alternately."""
    from recommendations.models import Interaction, Member, Post  # noqa: PLC0415
    from recommendations.stores.bulk import insert_columns  # noqa: PLC0415

    members = list(Member.objects.values_list("id", flat=True)[:1000])
    posts = list(Post.objects.values_list("id", flat=True)[:5000])
    count, rounds = 50_000 // divisor, 5
    rates: dict[str, list[float]] = {"insert_columns": [], "bulk_create": []}

    def rows(name: str) -> dict:
        return {
            "event_id": [f"{name}-{n}" for n in range(count)],
            "member_id": [members[n % len(members)] for n in range(count)],
            "post_id": [posts[n * 7 % len(posts)] for n in range(count)],
            "occurred_at": [NOW] * count,
        }

    for number in range(rounds):
        columns = rows(f"columns-{number}")
        started = time.perf_counter()
        insert_columns(Interaction, columns, {"kind": "like", "received_at": NOW})
        rates["insert_columns"].append(count / (time.perf_counter() - started))
        columns = rows(f"objects-{number}")
        started = time.perf_counter()
        objects = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        Interaction.objects.bulk_create(
            [Interaction(**fields, kind="like", received_at=NOW) for fields in objects], batch_size=2_000
        )
        rates["bulk_create"].append(count / (time.perf_counter() - started))
    ratios = [rate / django_rate for rate, django_rate in zip(*rates.values(), strict=True)]
    return {name: value_range(values) for name, values in rates.items()} | {"ratio": value_range(ratios, 2)}


def value_range(values: list[float], digits: int | None = None) -> dict:
    return {
        "median": round(statistics.median(values), digits),
        "range": [round(min(values), digits), round(max(values), digits)],
    }


if __name__ == "__main__":
    main()
