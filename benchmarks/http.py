"""
Throughput and latency of the API by endpoint and concurrency, beside a bare DRF view of the same server and run.

    python -m benchmarks.http [--quick] [--json FILE]

It uses the platform of `benchmarks.feed`, which the first run makes, a Redis and a web server of its own (two
processes, four threads each). Requests carry an API key. Latencies are milliseconds: median, middle half, 99th
percentile. A ratio says how many requests a second are answered for each one of the bare view. The second table
leaves one layer at a time out from around the bare view: what it saves is what the layer costs.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.feed import FULL, QUICK, free_port, prepare_platform, run_server, summary
from recsys_project.environment import ROOT
from recsys_project.stack.redis import find_binary

CONCURRENCY = (1, 4, 16)
OMITTED_LAYERS = {
    "nothing": "",
    "any of those below": "django_prometheus recsys_project.request_log GZipMiddleware access.middleware sessions csrf "
    "AuthenticationMiddleware messages DEFAULT_THROTTLE_CLASSES DEFAULT_AUTHENTICATION_CLASSES "
    "DEFAULT_PERMISSION_CLASSES",
    "metrics": "django_prometheus",
    "logging": "recsys_project.request_log",
    "compression": "GZipMiddleware",
    "rates' fields and watching": "access.middleware",
    "sessions, CSRF, messages": "sessions csrf AuthenticationMiddleware messages",
    "throttle": "DEFAULT_THROTTLE_CLASSES",
    # Without a caller there is nobody to count either: compare with the line above.
    "throttle, keys, permission": "DEFAULT_THROTTLE_CLASSES DEFAULT_AUTHENTICATION_CLASSES DEFAULT_PERMISSION_CLASSES",
}
"""Layers, with what the names of their middleware hold, or the settings of REST framework that bring them in."""
EVENTS_PER_REQUEST = 1000
SETUP_SCRIPT = """
import json
from datetime import UTC, datetime
from access import keys
from access.scopes import Scope
from recommendations.models import Member
from recommendations.services.serving.recommend import recommend
members = Member.objects.filter(interests__isnull=False).order_by("pk")
members = list(members.values_list("external_id", flat=True)[:400])
page = recommend(member_id=members[0], limit=50, now=datetime.now(UTC))
posts = [pick.post.id for pick in page.picks]
made = keys.create(name="benchmark", scopes=[s.value for s in Scope], per_minute=1_000_000, now=datetime.now(UTC))
print(json.dumps({"members": members, "posts": posts, "secret": made[1]}))
"""
FEED_QUERY = "query($m: ID!) { discoveryFeed(memberId: $m, first: 20) { edges { node { score } } } }"
RequestSpec = tuple[str, str, bytes | None]


def request_builders(known: dict[str, Any], graphql: str) -> dict[str, Callable[[int], RequestSpec]]:
    """Return what each endpoint is asked the nth time."""
    members, posts = known["members"], known["posts"]

    def member(n: int) -> str:
        return str(members[n % len(members)])

    def post(n: int) -> str:
        return str(posts[n % len(posts)])

    def narrow(n: int) -> str:
        return f"max_age_hours={5000 + n % 500_000}"  # its own key in the cache, and every post is in it

    def events(n: int) -> bytes:
        rows = [
            {"event_id": f"b-{os.getpid()}-{n}-{i}", "member_id": member(n + i), "post_id": post(i), "kind": "view"}
            for i in range(EVENTS_PER_REQUEST)
        ]
        return json.dumps({"events": rows}).encode()

    def said(body: object) -> bytes:
        return json.dumps(body).encode()

    return {
        "bare view": lambda n: ("GET", "/bare", None),
        "page of 20, kept": lambda n: ("GET", f"/bare-page/{members[0]}", None),
        "cached feed": lambda n: ("GET", f"/api/v1/members/{members[0]}/feed?limit=20", None),
        "fresh feed": lambda n: ("GET", f"/api/v1/members/{member(n)}/feed?limit=20&{narrow(n)}", None),
        "similar": lambda n: ("GET", f"/api/v1/posts/{post(n)}/similar?viewer_id={members[0]}", None),
        "GraphQL discoveryFeed": lambda n: ("POST", "/graphql", graphql_body(graphql, members[0])),
        "OFREP evaluate": lambda n: (
            "POST",
            "/ofrep/v1/evaluate/flags",
            said({"context": {"targetingKey": member(n)}}),
        ),
        f"interactions, {EVENTS_PER_REQUEST} each": lambda n: ("POST", "/api/v1/interactions", events(n)),
    }


def graphql_body(query: str, member: str) -> bytes:
    return json.dumps({"query": query, "variables": {"m": member}}).encode()


def send_load(
    port: int, secret: str, ask: Callable[[int], RequestSpec], *, at_once: int, requests: int
) -> dict[str, float]:
    """Send *requests* over *at_once* connections; return requests a second and latencies in milliseconds."""
    numbers = itertools.count(time.monotonic_ns() % 10**6)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def one(_: int) -> list[float]:
        connection, took = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
        for _ in range(max(2, requests // at_once)):
            method, path, body = ask(next(numbers))
            start = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            took.append((time.perf_counter() - start) * 1000)
            if answer.status != 200 or (b'"errors"' in text and path == "/graphql"):
                raise SystemExit(f"{path}: {answer.status} {text[:300]!r}")
        connection.close()
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        times = [ms for part in threads.map(one, range(at_once)) for ms in part]
    return summary(times) | {"per_second": len(times) / (time.perf_counter() - began)}


def web_command(port: int) -> list[str]:
    options = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    return [sys.executable, "-m", "granian", *options, "--blocking-threads", "4", "recsys_project.wsgi:application"]


def measure_endpoints(env: dict[str, str], folder: Path, known: dict[str, Any], requests: int) -> dict[str, Any]:
    """Return the figures of each endpoint at each concurrency."""
    port, found = free_port(), {}
    with run_server(web_command(port), port, env, folder / "http.log"):
        for name, ask in request_builders(known, FEED_QUERY).items():
            count = max(4, requests // 20) if name.startswith("interactions") else requests
            send_load(port, known["secret"], ask, at_once=16, requests=count // 2)  # warms both processes
            found[name] = {n: send_load(port, known["secret"], ask, at_once=n, requests=count) for n in CONCURRENCY}
    return found


def measure_layers(env: dict[str, str], folder: Path, known: dict[str, Any], requests: int) -> dict[str, Any]:
    """Return the figures of the bare view with each layer left out, one request at a time."""
    found = {}
    for layer, names in OMITTED_LAYERS.items():
        port = free_port()
        changed = env | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings_without_layers", "BENCHMARK_WITHOUT": names}
        with run_server(web_command(port), port, changed, folder / "http.log"):
            ask = request_builders(known, FEED_QUERY)["bare view"]
            send_load(port, known["secret"], ask, at_once=16, requests=requests)  # warms both processes
            found[layer] = send_load(port, known["secret"], ask, at_once=1, requests=4 * requests)
    return found


def print_report(found: dict[str, Any]) -> None:
    print(f"{'endpoint':26}{'at once':>8}{'a second':>10}{'p50 ms':>9}{'p25–p75':>14}{'p99 ms':>9}{'of bare':>9}")
    for name, rows in found["endpoints"].items():
        for at_once, row in rows.items():
            ratio = row["per_second"] / found["endpoints"]["bare view"][at_once]["per_second"]
            span = f"{row['p25']:.1f}–{row['p75']:.1f}"
            print(
                f"{name:26}{at_once:8}{row['per_second']:10.1f}{row['p50']:9.1f}{span:>14}{row['p99']:9.1f}{ratio:9.3f}"
            )
    print(f"\n{'the bare view without':32}{'p50 ms':>9}{'p25–p75':>14}{'saves ms':>10}")
    whole = found["layers"]["nothing"]["p50"]
    for name, row in found["layers"].items():
        print(f"{name:32}{row['p50']:9.2f}{row['p25']:8.2f}–{row['p75']:.2f}{whole - row['p50']:10.2f}")


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the platform and of the requests")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    folder, port, requests = ROOT / "var" / "benchmark", free_port(), 80 if options.quick else 800
    folder.mkdir(parents=True, exist_ok=True)
    redis = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with run_server(redis, port, dict(os.environ), folder / "redis.log"):
        env = prepare_platform(QUICK if options.quick else FULL, None, port) | {"API_OPEN": "0"}
        told = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", SETUP_SCRIPT],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
        )
        known = json.loads(told.stdout)
        found = {
            "endpoints": measure_endpoints(env, folder, known, requests),
            "layers": measure_layers(env, folder, known, requests),
        }
    print_report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
