"""
Measure how long a feed takes on a generated platform: fresh and cached, in process and over HTTP.

    python -m benchmarks.feed [--quick] [--json FILE] [--growth] [--database URL]

The first run generates the platform (100,000 posts, 10,000 members, 2,000,000 interactions; ten minutes) in
var/benchmark; later runs reuse it. The benchmark starts and stops its own Redis and web server. For comparison it
measures a bare DRF view of the same server, and one that reads the cache once. A ratio is a feed's time divided by the
time of the bare view. --growth also measures twice the posts, and twice the members. --database uses an empty
PostgreSQL database instead of SQLite.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recsys_project.environment import ROOT
from recsys_project.stack import commands
from recsys_project.stack.redis import find_binary

LIMIT = 50
FEED = f"/api/v1/members/{{}}/feed?limit={LIMIT}"
BARE, BARE_REDIS, CACHED = "bare view", "bare view with a Redis read", "cached, over HTTP"
Times = list[float]
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Size:
    """A generated platform."""

    posts: int
    members: int
    interactions: int

    @property
    def name(self) -> str:
        return f"{self.posts}-{self.members}-{self.interactions}"


FULL, QUICK = Size(100_000, 10_000, 2_000_000), Size(10_000, 1_000, 100_000)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def run_server(command: list[str], port: int, env: dict[str, str], log: Path) -> Iterator[None]:
    """Run a server during the block. Waits until its port accepts connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended; see {log}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def prepare_platform(size: Size, database: str | None, redis_port: int) -> dict[str, str]:
    """Return the environment of the platform of this size. Generates the platform if it does not exist."""
    folder = ROOT / "var" / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{size.name}.sqlite3"
    env = os.environ | {
        "DEBUG": "0",  # otherwise Django stores every query
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "API_OPEN": "1",
        "HTTPS": "0",
        "LOG_LEVEL": "ERROR",
        "SECRET_KEY": "for-benchmarks-only-" + "x" * 32,
        "DATABASE_URL": database or f"sqlite:///{file}",
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "CACHE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/1",
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }
    marker = folder / f"{size.name}-{'postgresql' if database else 'sqlite'}.done"
    if marker.exists() and (database or file.exists()):
        run_command(env, "migrate", "-v0")
        return env
    if not database:
        file.unlink(missing_ok=True)
    run_command(env, "migrate", "-v0")
    counts = ("--posts", size.posts, "--members", size.members, "--interactions", size.interactions)
    run_command(env, "generate", "--vectors", *map(str, counts))
    run_command(env, "learn")
    run_command(env, "train")
    marker.touch()
    return env


def run_command(env: dict[str, str], *command: str) -> None:
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True)


def time_alternately(members: list[str], calls: dict[str, Callable[[str], object]]) -> Figures:
    """Return the times of each call over all members. Calls alternate: a busy machine slows all of them alike."""
    times: dict[str, Times] = {name: [] for name in calls}
    for member in members:
        for name, call in calls.items():
            start = time.perf_counter()
            call(member)
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: summary(durations) for name, durations in times.items()}


def summary(times: Times) -> dict[str, float]:
    """Return median, 99th percentile and the quartiles, in milliseconds."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "p25": cuts[24], "p75": cuts[74]}


class HttpClient:
    """One kept-alive connection to a web server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> bytes:
        """Return the body of a page. Exits if the status is not 200."""
        self._connection.request("GET", path, headers={"Connection": "keep-alive"})
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {body[:300]!r}")
        return body


def measure(env: dict[str, str], folder: Path, rounds: int) -> Figures:
    """Return all times, measured in a child process, because a process reads the settings once."""
    port = free_port()
    with run_server(commands.web_command(port), port, env | {"WEB_THREADS": "1"}, folder / "web.log"):
        completed = subprocess.run(
            [sys.executable, "-m", "benchmarks.feed", "--child", str(port), "--rounds", str(rounds)],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
        )
    figures: Figures = json.loads(completed.stdout)
    return figures


def run_child(port: int, rounds: int) -> Figures:
    """Measure on the platform that the environment names."""
    # Models and services can be imported only once Django is set up.
    import django  # noqa: PLC0415

    django.setup()
    from django.db import connection  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from monitoring import clock, extensions  # noqa: PLC0415
    from recommendations.models import Member  # noqa: PLC0415
    from recommendations.services import wiring  # noqa: PLC0415
    from recommendations.services.serving.pages import page_cache  # noqa: PLC0415
    from recommendations.services.serving.recommend import recommend  # noqa: PLC0415

    extensions.load_all()  # as in a web process, which times queries
    known = Member.objects.filter(interests__isnull=False).order_by("pk").values_list("external_id", flat=True)
    count = known.count()
    members = list(known[:: max(count // (2 * rounds), 1)][: 2 * rounds])
    first, second = members[:rounds], members[rounds:]
    client = HttpClient(port)

    def build_page(member: str) -> object:
        return recommend(member_id=member, limit=LIMIT, now=clock.now())

    def clear_caches(remaining: str) -> None:
        """Empty the page cache, and unless they are *remaining*, the slates in Redis and the facts in this process."""
        page_cache().clear()
        if remaining != "slates":
            wiring.slate_cache()._client.flushdb()
        if remaining == "nothing":
            wiring.resident_facts().clear()

    def get_feed(member: str) -> bytes:
        return client.get(FEED.format(member))

    for member in first[:10]:
        build_page(member)
        get_feed(member)
    clear_caches("nothing")
    figures = time_alternately(first, {"fresh, in process": build_page})
    figures |= time_alternately(first, {"cached, in process": build_page})
    clear_caches("slates")
    figures |= time_alternately(first, {"cached in Redis, in process": build_page})
    figures |= time_alternately(second, {"fresh, over HTTP": get_feed})
    figures |= time_alternately(
        second, {BARE: lambda _: client.get("/bare"), BARE_REDIS: lambda _: client.get("/bare-redis"), CACHED: get_feed}
    )
    # This process built the first pages of these members, so they are in Redis and not in the web server's memory.
    figures |= time_alternately(first, {"cached in Redis, over HTTP": get_feed})
    for remaining in ("nothing", "facts"):
        counts = []
        for member in first[:20]:
            build_page(member)
            clear_caches(remaining)
            with CaptureQueriesContext(connection) as captured:
                build_page(member)
            counts.append(len(captured))
        name = f"SQL queries, fresh, {'facts' if remaining == 'facts' else 'nothing'} cached"
        figures[name] = {"p50": statistics.median(counts), "p99": max(counts)}
    return figures


def print_report(title: str, figures: Figures) -> None:
    print(f"\n{title}\n{'':38}{'p50 ms':>9}{'p25–p75':>16}{'p99 ms':>9}{'× bare view':>13}")
    bare = figures[BARE]["p50"]
    for name, row in figures.items():
        if "p25" not in row:
            print(f"{name:38}{row['p50']:9.0f}{'':16}{row['p99']:9.0f}")
            continue
        span = f"{row['p25']:.1f}–{row['p75']:.1f}"
        print(f"{name:38}{row['p50']:9.1f}{span:>16}{row['p99']:9.1f}{row['p50'] / bare:13.1f}")
    ratio = figures[BARE_REDIS]["p50"] / figures[CACHED]["p50"]
    print(f"{'cached feeds per second / bare views with a Redis read':58}{ratio:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a tenth of the platform and 50 members")
    parser.add_argument("--growth", action="store_true", help="also measure twice the posts, and twice the members")
    parser.add_argument("--database", metavar="URL", help="use this empty PostgreSQL database")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to this file")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_child(options.child, options.rounds)))
        return
    size = QUICK if options.quick else FULL
    sizes = [size]
    if options.growth:
        sizes += [
            Size(2 * size.posts, size.members, size.interactions),
            Size(size.posts, 2 * size.members, 2 * size.interactions),
        ]
    folder, port = ROOT / "var" / "benchmark", free_port()
    folder.mkdir(parents=True, exist_ok=True)
    redis = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    results: dict[str, Figures] = {}
    with run_server(redis, port, dict(os.environ), folder / "redis.log"):
        for platform in sizes:
            env = prepare_platform(platform, options.database, port)
            title = f"{platform.posts:,} posts, {platform.members:,} members, {platform.interactions:,} interactions"
            results[title] = measure(env, folder, 50 if options.quick else 300)
            print_report(title, results[title])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
