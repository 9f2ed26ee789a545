"""
Measure throughput and latency of the API by endpoint and concurrency, compared with a bare DRF view.

    python -m benchmarks.endpoints [--quick] [--json FILE]

The benchmark uses the platform of `benchmarks.feed` (the first run generates it) and starts its own Redis and web
server (two processes, four threads each). Requests carry an API key. Latencies are in milliseconds: median, quartiles,
99th percentile. A ratio is the requests per second divided by those of the bare view. The second table omits one layer
at a time around the bare view; the time saved is the cost of the layer.
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
from recsys_project.stack import commands
from recsys_project.stack.redis import find_binary

CONCURRENCY = (1, 4, 16)
OMITTED_LAYERS = {
    "nothing": "",
    "all layers below": "django_prometheus request_metrics recsys_project.request_log GZipMiddleware access.middleware "
    "sessions csrf AuthenticationMiddleware messages DEFAULT_THROTTLE_CLASSES DEFAULT_AUTHENTICATION_CLASSES "
    "DEFAULT_PERMISSION_CLASSES",
    "metrics": "django_prometheus request_metrics",
    "logging": "recsys_project.request_log",
    "compression": "GZipMiddleware",
    "rate limit headers and usage counts": "access.middleware",
    "sessions, CSRF, messages": "sessions csrf AuthenticationMiddleware messages",
    "throttle": "DEFAULT_THROTTLE_CLASSES",
    # Without a caller nothing is counted either: compare with the line above.
    "throttle, keys, permission": "DEFAULT_THROTTLE_CLASSES DEFAULT_AUTHENTICATION_CLASSES DEFAULT_PERMISSION_CLASSES",
}
"""Layers, with parts of the names of their middleware, or the REST framework settings that enable them."""
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
created = keys.create(name="benchmark", scopes=[s.value for s in Scope], per_minute=1_000_000, now=datetime.now(UTC))
print(json.dumps({"members": members, "posts": posts, "secret": created[1]}))
"""
FEED_QUERY = "query($m: ID!) { discoveryFeed(memberId: $m, first: 20) { edges { node { score } } } }"
RequestSpec = tuple[str, str, bytes | None]


def request_builders(platform: dict[str, Any], graphql: str) -> dict[str, Callable[[int], RequestSpec]]:
    """Return for each endpoint a function that builds its nth request."""
    members, posts = platform["members"], platform["posts"]

    def member(n: int) -> str:
        return str(members[n % len(members)])

    def post(n: int) -> str:
        return str(posts[n % len(posts)])

    def unique_filter(n: int) -> str:
        return f"max_age_hours={5000 + n % 500_000}"  # a unique cache key that matches every post

    def events(n: int) -> bytes:
        rows = [
            {"event_id": f"b-{os.getpid()}-{n}-{i}", "member_id": member(n + i), "post_id": post(i), "kind": "view"}
            for i in range(EVENTS_PER_REQUEST)
        ]
        return json.dumps({"events": rows}).encode()

    def to_json(body: object) -> bytes:
        return json.dumps(body).encode()

    return {
        "bare view": lambda n: ("GET", "/bare", None),
        "page of 20, serialization only": lambda n: ("GET", f"/bare-page/{members[0]}", None),
        "cached feed": lambda n: ("GET", f"/api/v1/members/{members[0]}/feed?limit=20", None),
        "fresh feed": lambda n: ("GET", f"/api/v1/members/{member(n)}/feed?limit=20&{unique_filter(n)}", None),
        "similar": lambda n: ("GET", f"/api/v1/posts/{post(n)}/similar?viewer_id={members[0]}", None),
        "GraphQL discoveryFeed": lambda n: ("POST", "/graphql", graphql_body(graphql, members[0])),
        "OFREP evaluate": lambda n: (
            "POST",
            "/ofrep/v1/evaluate/flags",
            to_json({"context": {"targetingKey": member(n)}}),
        ),
        f"interactions, {EVENTS_PER_REQUEST} each": lambda n: ("POST", "/api/v1/interactions", events(n)),
    }


def graphql_body(query: str, member: str) -> bytes:
    return json.dumps({"query": query, "variables": {"m": member}}).encode()


def send_load(
    port: int, secret: str, build_request: Callable[[int], RequestSpec], *, at_once: int, requests: int
) -> dict[str, float]:
    """Send *requests* over *at_once* connections; return requests per second and latencies in milliseconds."""
    numbers = itertools.count(time.monotonic_ns() % 10**6)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def run_connection(_: int) -> list[float]:
        connection, latencies = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
        for _ in range(max(2, requests // at_once)):
            method, path, body = build_request(next(numbers))
            start = time.perf_counter()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
            latencies.append((time.perf_counter() - start) * 1000)
            if response.status != 200 or (b'"errors"' in text and path == "/graphql"):
                raise SystemExit(f"{path}: {response.status} {text[:300]!r}")
        connection.close()
        return latencies

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        times = [ms for part in threads.map(run_connection, range(at_once)) for ms in part]
    return summary(times) | {"per_second": len(times) / (time.perf_counter() - started)}


def web_command(port: int) -> list[str]:
    return [*commands.web_command(port), "--workers", "2"]


def measure_endpoints(env: dict[str, str], folder: Path, platform: dict[str, Any], requests: int) -> dict[str, Any]:
    """Return the results of each endpoint at each concurrency."""
    port, results = free_port(), {}
    with run_server(web_command(port), port, env, folder / "endpoints.log"):
        for name, build_request in request_builders(platform, FEED_QUERY).items():
            count = max(4, requests // 20) if name.startswith("interactions") else requests
            send_load(
                port, platform["secret"], build_request, at_once=16, requests=count // 2
            )  # warm-up of both processes
            results[name] = {
                n: send_load(port, platform["secret"], build_request, at_once=n, requests=count) for n in CONCURRENCY
            }
    return results


def measure_layers(env: dict[str, str], folder: Path, platform: dict[str, Any], requests: int) -> dict[str, Any]:
    """Return the results of the bare view without each layer, one request at a time."""
    results = {}
    for layer, names in OMITTED_LAYERS.items():
        port = free_port()
        changed = env | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings_without_layers", "BENCHMARK_WITHOUT": names}
        with run_server(web_command(port), port, changed, folder / "endpoints.log"):
            build_request = request_builders(platform, FEED_QUERY)["bare view"]
            send_load(
                port, platform["secret"], build_request, at_once=16, requests=requests
            )  # warm-up of both processes
            results[layer] = send_load(port, platform["secret"], build_request, at_once=1, requests=4 * requests)
    return results


def print_report(results: dict[str, Any]) -> None:
    print(f"{'endpoint':26}{'at once':>8}{'per s':>10}{'p50 ms':>9}{'p25–p75':>14}{'p99 ms':>9}{'ratio':>9}")
    for name, rows in results["endpoints"].items():
        for at_once, row in rows.items():
            ratio = row["per_second"] / results["endpoints"]["bare view"][at_once]["per_second"]
            span = f"{row['p25']:.1f}–{row['p75']:.1f}"
            print(
                f"{name:26}{at_once:8}{row['per_second']:10.1f}{row['p50']:9.1f}{span:>14}{row['p99']:9.1f}{ratio:9.3f}"
            )
    print(f"\n{'the bare view without':32}{'p50 ms':>9}{'p25–p75':>14}{'saves ms':>10}")
    whole = results["layers"]["nothing"]["p50"]
    for name, row in results["layers"].items():
        print(f"{name:32}{row['p50']:9.2f}{row['p25']:8.2f}–{row['p75']:.2f}{whole - row['p50']:10.2f}")


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a tenth of the platform and of the requests")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    folder, port, requests = ROOT / "var" / "benchmark", free_port(), 80 if options.quick else 800
    folder.mkdir(parents=True, exist_ok=True)
    redis = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with run_server(redis, port, dict(os.environ), folder / "redis.log"):
        env = prepare_platform(QUICK if options.quick else FULL, None, port) | {"API_OPEN": "0"}
        completed = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", SETUP_SCRIPT],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
        )
        platform = json.loads(completed.stdout)
        results = {
            "endpoints": measure_endpoints(env, folder, platform, requests),
            "layers": measure_layers(env, folder, platform, requests),
        }
    print_report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
