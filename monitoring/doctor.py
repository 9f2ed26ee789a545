"""
The deployment checklist, walked against what runs: each line passes, warns or fails, and says how to mend it.

Apps add the lines that they know about; we know what holds for any service. A line that cannot be asked has failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any, cast
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from redis import Redis

from monitoring import health, samples, workers

MIB, GIB = 2**20, 2**30
LEAK_BACK, LEAK_WATCHED = timedelta(hours=2), timedelta(minutes=30)
LEAK_BYTES, LEAK_SHARE = 100 * MIB, 0.2
"""A process that grew by more than both has a leak, or was not warm."""
LOCAL = ("127.0.0.1", "localhost", "::1", "")


class Verdict(StrEnum):
    """What came of a line."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and what to do about it."""

    verdict: Verdict
    said: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the checklist with its answer."""

    title: str
    verdict: Verdict
    said: str
    fix: str


Ask = Callable[[datetime], Answer]
_lines: dict[str, Ask] = {}


def passed(said: str) -> Answer:
    return Answer(Verdict.PASS, said)


def warned(said: str, fix: str) -> Answer:
    return Answer(Verdict.WARN, said, fix)


def failed(said: str, fix: str) -> Answer:
    return Answer(Verdict.FAIL, said, fix)


def register(title: str, ask: Ask) -> None:
    """Add a line; a second one of the same title takes the first one's place."""
    _lines[title] = ask


def walk(now: datetime) -> list[Line]:
    """Return every line with its answer, in the order they were registered."""
    return [line_of(title, ask, now) for title, ask in _lines.items()]


def line_of(title: str, ask: Ask, now: datetime) -> Line:
    """Return the answer to one line; an error is a failure, with its type and what it says."""
    try:
        answer = ask(now)
    except Exception as error:
        answer = failed(f"could not be asked: {type(error).__name__}: {error}", "Mend what the error names, ask again.")
    return Line(title, answer.verdict, answer.said, answer.fix)


# What holds for any service


def redis_servers(_now: datetime) -> Answer:
    """The broker must forget nothing, the caches must be able to."""
    broker, cache = facts_of(settings.ENV.redis_url), facts_of(settings.ENV.cache_redis_url)
    if broker["policy"] != "noeviction":
        return failed(
            f"The broker's Redis evicts ({broker['policy']}): jobs' messages and records would vanish.",
            "Set maxmemory-policy noeviction on the server of REDIS_URL.",
        )
    if not broker["appendonly"]:
        return warned(
            "The broker's Redis writes no append-only file: what waits in it is lost when it stops.",
            "Set appendonly yes on the server of REDIS_URL.",
        )
    if cache["run_id"] == broker["run_id"]:
        return warned(
            "Broker and caches share one Redis, which may not evict: full caches would stop the broker.",
            "Give CACHE_REDIS_URL a server of its own with maxmemory and allkeys-lru. Fine on one's own machine.",
        )
    if not cache["maxmemory"] or cache["policy"] == "noeviction":
        return warned(
            "The caches' Redis has no limit or may not evict.",
            "Set maxmemory and maxmemory-policy allkeys-lru on the server of CACHE_REDIS_URL.",
        )
    kind = "cluster" if cache["cluster"] else "single server"
    return passed(f"broker keeps everything; caches ({kind}) may use {cache['maxmemory'] >> 20} MiB and evict")


def facts_of(url: str) -> dict[str, Any]:
    """Return what matters of the Redis at *url*; a managed server may refuse CONFIG, so all of it is from INFO."""
    with Redis.from_url(
        url, socket_timeout=health.TIMEOUT_SECONDS, socket_connect_timeout=health.TIMEOUT_SECONDS
    ) as client:
        info = cast("dict[str, Any]", client.info())
    return {
        "run_id": info["run_id"],
        "policy": info["maxmemory_policy"],
        "maxmemory": int(info["maxmemory"]),
        "appendonly": bool(info["aof_enabled"]),
        "cluster": bool(info.get("cluster_enabled")),
    }


def dashboards(_now: datetime) -> Answer:
    """Prometheus can read, and may."""
    if not settings.ENV.prometheus_metrics_enabled:
        return failed("/metrics is off.", "Set PROMETHEUS_METRICS_ENABLED=1.")
    if not settings.ENV.metrics_token.get_secret_value():
        return failed("Prometheus has no token to read /metrics with.", "Set METRICS_TOKEN, and give it to Prometheus.")
    if not (settings.BASE_DIR / "monitoring" / "grafana" / "provisioning").is_dir():
        return failed("Grafana's provisioning is not part of this installation.", "Deploy monitoring/grafana with it.")
    return passed("/metrics is served behind its token; Grafana's provisioning and the page /dashboard/ are here")


def database_server(_now: datetime) -> Answer:
    """A server, used with no more rights than needed."""
    if connection.vendor == "sqlite":
        return warned(
            "SQLite: one machine, and one writer at a time.",
            "Set DATABASE_URL to PostgreSQL for more than one machine.",
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        name, is_mighty = cast("tuple[str, bool]", cursor.fetchone())
    if is_mighty:
        return warned(
            f"The database user {name} is a superuser or makes roles.",
            "Connect as a role that owns this database only.",
        )
    return passed(f"{connection.vendor}, as {name}, who is no superuser")


def migrated(now: datetime) -> Answer:
    """The database is as the code expects."""
    if reason := health.reason_of("migrations", health.migrations, now):
        return failed(reason, "Run manage.py migrate.")
    return passed("every migration is applied")


def machine(_now: datetime) -> Answer:
    """Memory for the kernel and cores for its scans, as this machine or its container has them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory, limit = psutil.virtual_memory().total, settings.ENV.wasm_memory_limit
    if memory < 2 * GIB:
        return failed(f"{memory / GIB:.1f} GiB of memory; 2 are needed.", "Use a machine with at least 2 GiB.")
    if limit > memory * 0.8:
        return warned(
            f"WASM_MEMORY_LIMIT is {limit / GIB:.1f} GiB of the machine's {memory / GIB:.1f}.",
            "Lower it, or a full kernel brings the machine to swap.",
        )
    if cores < 2:
        return warned("One core: a batch slows down every request.", "Use two cores or more.")
    return passed(f"{memory / GIB:.0f} GiB, {cores} cores; the kernel may take {limit / GIB:.1f} GiB a process")


def doors(_now: datetime) -> Answer:
    """Nobody gets in who should not."""
    wrong = [
        f"{name}: {what}"
        for name, what, is_wrong in (
            ("DEBUG", "tracebacks for everybody", settings.DEBUG),
            ("API_OPEN", "the API asks for no key", settings.ENV.api_open),
            ("ALLOWED_HOSTS", "any host name is believed", "*" in settings.ALLOWED_HOSTS),
        )
        if is_wrong
    ]
    if wrong:
        return failed("; ".join(wrong) + ".", "Set DEBUG=0 and API_OPEN=0, and name your hosts in ALLOWED_HOSTS.")
    if not get_user_model().objects.filter(is_staff=True, is_active=True).exists():
        return warned("No member of staff can sign in.", "Set ADMIN_PASSWORD and run manage.py ensure_admin.")
    return passed("debug off, API closed to strangers, hosts named, staff can sign in")


def secrets(_now: datetime) -> Answer:
    """What lies in Redis is sealed, and Redis itself asks for a password."""
    urls = [urlsplit(url) for url in (settings.ENV.redis_url, settings.ENV.cache_redis_url)]
    if any(url.hostname not in LOCAL and not url.password for url in urls):
        return failed("A Redis on another machine asks for no password.", "Set requirepass, and put it into the URL.")
    if not settings.ENV.cache_encryption_keys.get_secret_value():
        return warned(
            "Personal values in Redis are sealed with a key derived from SECRET_KEY.",
            "Set CACHE_ENCRYPTION_KEYS, so that either can be changed without the other.",
        )
    return passed("personal values in Redis are sealed with keys of their own")


def working(now: datetime) -> Answer:
    """Workers and beat are there and work."""
    wrong = [f"{finding.name}: {finding.reason}" for finding in workers.findings(now) if finding.reason]
    if wrong:
        return failed(" ".join(wrong), "Start what is missing; docker-compose.yml has each command.")
    return passed(f"every queue is worked on ({', '.join(workers.canary_queues())}), beat holds its lock")


def memory(now: datetime) -> Answer:
    """No process held much more at the end of the last hours than at their beginning."""
    grew = {}
    for process, points in samples.memory_of(samples.read(now, LEAK_BACK)).items():
        if points[-1][0] - points[0][0] >= LEAK_WATCHED.total_seconds():
            third = max(1, len(points) // 3)
            first, last = (median(size for _, size in part) for part in (points[:third], points[-third:]))
            grew[process] = (last - first, last / first - 1)
    if not grew:
        return warned(
            f"No process was sampled for {LEAK_WATCHED.seconds // 60} minutes yet.",
            "Put it under load for half an hour (a batch of feeds, benchmarks/feed.py), and ask again.",
        )
    process, (size, share) = max(grew.items(), key=lambda item: item[1])
    said = f"{len(grew)} processes watched; {process} grew most, by {size / MIB:.0f} MiB ({share:.0%})"
    if size > LEAK_BYTES and share > LEAK_SHARE:
        return failed(f"{said}.", "Watch it on /dashboard/; if it goes on under even load, it leaks.")
    return passed(said)


def register_lines() -> None:
    """Add the lines that hold for any service."""
    for title, ask in (
        ("Redis cache cluster configured", redis_servers),
        ("Performance monitoring dashboard deployed", dashboards),
        ("Database migrated", migrated),
        ("Database connections use least privilege", database_server),
        ("Memory and cores", machine),
        ("Admin endpoints require authentication", doors),
        ("Cache data is encrypted at rest", secrets),
        ("Workers and beat", working),
        ("Memory leak testing completed", memory),
    ):
        register(title, ask)


def failing(lines: Iterable[Line]) -> list[Line]:
    """Return the lines that failed."""
    return [line for line in lines if line.verdict is Verdict.FAIL]
