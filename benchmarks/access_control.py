"""
Measure authentication and rate limiting, compared with a bare hash and bare reads of the same Redis.

    .venv/bin/python -m benchmarks.access_control [--quick] [--json FILE]

The benchmark starts its own Redis and creates a temporary database. Times are microseconds per call: median and
quartiles. A ratio is the time of a call divided by that of the bare operation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import redis

from benchmarks.feed import free_port, run_server
from recsys_project.stack.redis import find_binary

CALLS = {False: 20_000, True: 2_000}


def time_calls(call: Callable[[], Any], calls: int) -> dict[str, float]:
    """Return median and quartiles of *call* in microseconds."""
    durations = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        durations.append((time.perf_counter() - start) * 1e6)
    low, middle, high = statistics.quantiles(durations, n=4)
    return {"p50": middle, "p25": low, "p75": high}


def measure(url: str, calls: int) -> dict[str, dict[str, float]]:
    """Return the times of all calls. Imports models here, because they need Django to be set up."""
    names = ("callers", "keys", "throttles", "tokens", "usage")
    callers, keys, throttles, tokens, usage = (import_module(f"access.{name}") for name in names)
    now = datetime.now(UTC)
    _, secret = keys.create(name="benchmark", scopes=["feeds:read", "tokens:mint"], now=now)
    token = tokens.mint_token(member_id="42", scopes=["feeds:read"], ttl_seconds=3600, now=now)
    counted = throttles.Counted("key", "benchmark", 1_000_000)
    client = redis.Redis.from_url(url)
    usage_counter, window = usage.usage(), throttles.window()

    def two_reads() -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.get("a")
            pipe.get("b")
            pipe.execute()

    def identify_without_cache() -> None:
        tokens.decode_claims.cache_clear()
        callers.identify(token, now)

    return {
        "bare SHA-256 of the secret": time_calls(lambda: hashlib.sha256(secret.encode()).digest(), calls),
        "verify a key": time_calls(lambda: callers.identify(secret, now), calls),
        "verify a token, cached": time_calls(lambda: callers.identify(token, now), calls),
        "verify a token, new": time_calls(identify_without_cache, calls // 10),
        "bare pipeline of two reads": time_calls(two_reads, calls // 4),
        "count a request": time_calls(lambda: window.admit(counted), calls // 4),
        "count its usage": time_calls(lambda: usage_counter.note("benchmark", 200, now), calls),
    }


BARE_OPERATIONS = {
    "verify a key": "bare SHA-256 of the secret",
    "verify a token, cached": "bare SHA-256 of the secret",
    "verify a token, new": "bare SHA-256 of the secret",
    "count a request": "bare pipeline of two reads",
}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        os.environ.update(
            DJANGO_SETTINGS_MODULE="recsys_project.settings",
            SECRET_KEY="for-benchmarks-only-" + "x" * 32,
            DATABASE_URL=f"sqlite:///{folder}/db.sqlite3",
            REDIS_URL=url,
            CACHE_REDIS_URL=url,
        )
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0", "access"], check=True)
        django.setup()
        command = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with run_server(command, port, dict(os.environ), Path(folder) / "redis.log"):
            figures = measure(url, CALLS[options.quick])
    for name, times in figures.items():
        ratio = (
            f"  {times['p50'] / figures[BARE_OPERATIONS[name]]['p50']:.1f} × {BARE_OPERATIONS[name]}"
            if name in BARE_OPERATIONS
            else ""
        )
        print(f"{name:28} {times['p50']:7.1f} µs  ({times['p25']:.1f} to {times['p75']:.1f}){ratio}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
