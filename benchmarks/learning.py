"""
Measure how many interactions are learned per second of CPU, beside reading and writing the same rows without learning.

    python -m benchmarks.learning [--quick] [--json FILE] [--database URL]

Generates 3,000 members and 150,000 interactions with 10,000 posts in a temporary SQLite file, or in an empty database
of PostgreSQL. Each round learns all of them from the beginning, and then copies: it reads the interactions of as many
members per transaction, marks them as learned, and inserts the rows that learning has written. The CPU time is that of
this process, without PostgreSQL's. The benchmark starts and stops its own Redis.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.feed import free_port, run_server
from recsys_project.stack.redis import find_binary

MEMBERS, POSTS, INTERACTIONS = 3_000, 10_000, 150_000
Rows = dict[str, dict[str, list[Any]]]
"""By the name of the model, then by column."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the CPU time of learning.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, and fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--database", metavar="URL", help="an empty PostgreSQL database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        os.environ |= {
            "DATABASE_URL": options.database or f"sqlite:///{folder}/benchmark.sqlite3",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "CACHE_REDIS_URL": f"redis://127.0.0.1:{port}/1",
            "SECRET_KEY": "for-the-benchmark-only-" + "x" * 32,
            "LOG_LEVEL": "ERROR",
            "OPENBLAS_NUM_THREADS": "1",  # CPU time is not that of threads that wait
            "DJANGO_SETTINGS_MODULE": "recsys_project.settings",
        }
        command = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with run_server(command, port, dict(os.environ), Path(folder, "redis.log")):
            figures = measure(divisor=10 if options.quick else 1, rounds=3 if options.quick else 5)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(*, divisor: int, rounds: int) -> dict[str, Any]:
    """Return the interactions per second of CPU of learning and of copying, and the ratio of both."""
    import django  # noqa: PLC0415 -- the environment must be set first
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    from django.db import connection  # noqa: PLC0415

    from recommendations.models import Interaction  # noqa: PLC0415
    from recommendations.services.learning.learn import learn_interactions  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    sizes = {"members": MEMBERS // divisor, "posts": POSTS // divisor, "interactions": INTERACTIONS // divisor}
    call_command("generate", "--vectors", **sizes)
    members = sorted(set(Interaction.objects.values_list("member_id", flat=True)))
    rates: dict[str, list[float]] = {"learned": [], "copied": []}
    for _ in range(rounds):
        forget()
        learned = time_cpu(lambda: learn_interactions(member_ids=members, now=datetime.now(UTC)))
        written = read_written()
        forget()
        copied = time_cpu(lambda: copy(members, written))  # noqa: B023 -- called at once
        rates["learned"].append(sizes["interactions"] / learned)
        rates["copied"].append(sizes["interactions"] / copied)
    ratios = [copied / learned for learned, copied in zip(*rates.values(), strict=True)]
    figures = {name: summarize(values, 0) for name, values in rates.items()}
    return {"database": connection.vendor, **sizes, **figures, "copied / learned": summarize(ratios, 2)}


def forget() -> None:
    """Delete everything that learning has written."""
    from recommendations import models  # noqa: PLC0415 -- as above

    for name in ("InterestProfile", "ReactionHistory", "HistoryChange", "PostStats", "RegionStats", "DampedEngagement"):
        getattr(models, name).objects.all().delete()
    models.AuthorCrowd.objects.all().delete()
    models.CrowdNewcomer.objects.all().delete()
    models.Interaction.objects.update(is_learned=False)


def read_written() -> Rows:
    """Return the rows that learning has written, except the list of what was damped."""
    from recommendations import models  # noqa: PLC0415 -- as above

    written: Rows = {}
    for name in ("InterestProfile", "ReactionHistory", "PostStats", "RegionStats"):
        columns = [field.attname for field in getattr(models, name)._meta.concrete_fields]
        rows = getattr(models, name).objects.values_list(*columns)
        written[name] = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    return written


def copy(members: list[int], written: Rows) -> None:
    """Read and mark the interactions of all *members*, and insert the *written* rows."""
    from django.db import transaction  # noqa: PLC0415 -- as above

    from recommendations import models  # noqa: PLC0415
    from recommendations.services.learning.learn import MEMBERS_PER_TRANSACTION  # noqa: PLC0415
    from recommendations.stores.bulk import insert_columns  # noqa: PLC0415
    from recommendations.stores.interaction_columns import read_interactions  # noqa: PLC0415

    for start in range(0, len(members), MEMBERS_PER_TRANSACTION):
        with transaction.atomic():
            pending = models.Interaction.objects.filter(
                member__in=members[start : start + MEMBERS_PER_TRANSACTION], is_learned=False
            )
            ids = read_interactions(pending.order_by("occurred_at", "id")).ids.tolist()
            models.Interaction.objects.filter(pk__in=ids).update(is_learned=True)
    for name, columns in written.items():
        insert_columns(getattr(models, name), columns)


def time_cpu(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def summarize(values: list[float], digits: int) -> dict[str, float]:
    """Return the median and the range."""
    numbers = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, digits) for name, value in numbers.items()}


if __name__ == "__main__":
    main()
