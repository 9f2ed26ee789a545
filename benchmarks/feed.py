"""
How long a feed takes: fresh and cached, in process and over HTTP, beside a bare page of the same server in the run.

    python benchmarks/feed.py [--quick] [--json FILE]

It asks the embedded stack of this clone, which must be running (`make run`), for the feeds of its sample's members.
The peer is `/livez`: the same server and middleware, and a view that does nothing. A ratio says how many times as long.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import django

from recsys_project.environment import ROOT
from recsys_project.stack import commands
from recsys_project.stack.state import State

Times = list[float]


def timed(do: Callable[[str], object], members: list[str]) -> Times:
    """Return the milliseconds that *do* took for each member, after one that does not count."""
    do(members[0])
    times = []
    for member in members:
        start = time.perf_counter()
        do(member)
        times.append((time.perf_counter() - start) * 1000)
    return times


def summary(times: Times) -> dict[str, float]:
    """Return median, 99th percentile and the quartiles, in milliseconds."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "p25": cuts[24], "p75": cuts[74]}


class Http:
    """One kept-alive connection to the stack's web server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> bytes:
        """Return the body of a page; anything but 200 ends the run."""
        self._connection.request("GET", path, headers={"Connection": "keep-alive"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return body


def measure(state: State, rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of every way to ask."""
    os.environ.update(commands.environment(state, ROOT / "var"), DJANGO_SETTINGS_MODULE="recsys_project.settings")
    django.setup()
    # Models and services can be imported only now that Django is set up.
    from monitoring import clock  # noqa: PLC0415
    from recommendations.models import Member  # noqa: PLC0415
    from recommendations.services.recommend import recommend  # noqa: PLC0415

    members = list(
        Member.objects.filter(external_id__startswith="movielens:").values_list("external_id", flat=True)[:rounds]
    )
    page = Http(state.web_port)
    feed = "/api/v1/members/{}/feed?limit=20"
    ways: dict[str, Callable[[str], object]] = {
        "bare page over HTTP": lambda m: page.get("/livez"),
        "fresh, in process": lambda m: recommend(member_id=m, explain=True, now=clock.now()),
        "cached, in process": lambda m: recommend(member_id=m, now=clock.now()),
        "fresh, over HTTP": lambda m: page.get(feed.format(m) + "&explain=true"),
        "cached, over HTTP": lambda m: page.get(feed.format(m)),
    }
    return {name: summary(timed(way, members)) for name, way in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 members instead of 600")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    figures = measure(State.load(ROOT / "var"), 50 if options.quick else 600)
    bare = figures["bare page over HTTP"]["p50"]
    print(f"{'':22}{'p50 ms':>9}{'p25–p75':>16}{'p99 ms':>9}{'× bare page':>13}")
    for name, row in figures.items():
        span = f"{row['p25']:.1f}–{row['p75']:.1f}"
        print(f"{name:22}{row['p50']:9.1f}{span:>16}{row['p99']:9.1f}{row['p50'] / bare:13.1f}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
