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
LEAK_LOOKBACK, LEAK_MIN_OBSERVATION = timedelta(hours=2), timedelta(minutes=30)
LEAK_MIN_BYTES, LEAK_MIN_SHARE = 100 * MIB, 0.2
"""A process that grew by more than both has a leak, or was not warm."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "")


class Verdict(StrEnum):
    """What came of a line."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found, and what to do about it."""

    verdict: Verdict
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line of the checklist with its answer."""

    title: str
    verdict: Verdict
    message: str
    fix: str


DoctorCheck = Callable[[datetime], CheckResult]
_checks: dict[str, DoctorCheck] = {}


def pass_result(said: str) -> CheckResult:
    return CheckResult(Verdict.PASS, said)


def warn_result(said: str, fix: str) -> CheckResult:
    return CheckResult(Verdict.WARN, said, fix)


def fail_result(said: str, fix: str) -> CheckResult:
    return CheckResult(Verdict.FAIL, said, fix)


def register_check(title: str, check: DoctorCheck) -> None:
    """Add a line; a second one of the same title takes the first one's place."""
    _checks[title] = check


def checks(now: datetime) -> list[ReportLine]:
    """Return every line with its answer, in the order they were registered."""
    return [run_check(title, ask, now) for title, ask in _checks.items()]


def run_check(title: str, check: DoctorCheck, now: datetime) -> ReportLine:
    """Return the answer to one line; an error is a failure, with its type and what it says."""
    try:
        answer = check(now)
    except Exception as error:
        answer = fail_result(
            f"could not be asked: {type(error).__name__}: {error}", "Mend what the error names, ask again."
        )
    return ReportLine(title, answer.verdict, answer.message, answer.fix)


# What holds for any service


def check_redis_servers(_now: datetime) -> CheckResult:
    """The broker must forget nothing, the caches must be able to."""
    broker, cache = read_redis_facts(settings.ENV.redis_url), read_redis_facts(settings.ENV.cache_redis_url)
    if broker["policy"] != "noeviction":
        return fail_result(
            f"The broker's Redis evicts ({broker['policy']}): jobs' messages and records would vanish.",
            "Set maxmemory-policy noeviction on the server of REDIS_URL.",
        )
    if not broker["appendonly"]:
        return warn_result(
            "The broker's Redis writes no append-only file: what waits in it is lost when it stops.",
            "Set appendonly yes on the server of REDIS_URL.",
        )
    if cache["run_id"] == broker["run_id"]:
        return warn_result(
            "Broker and caches share one Redis, which may not evict: full caches would stop the broker.",
            "Give CACHE_REDIS_URL a server of its own with maxmemory and allkeys-lru. Fine on one's own machine.",
        )
    if not cache["maxmemory"] or cache["policy"] == "noeviction":
        return warn_result(
            "The caches' Redis has no limit or may not evict.",
            "Set maxmemory and maxmemory-policy allkeys-lru on the server of CACHE_REDIS_URL.",
        )
    kind = "cluster" if cache["cluster"] else "single server"
    return pass_result(f"broker keeps everything; caches ({kind}) may use {cache['maxmemory'] >> 20} MiB and evict")


def read_redis_facts(url: str) -> dict[str, Any]:
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


def check_dashboards(_now: datetime) -> CheckResult:
    """Prometheus can read, and may."""
    if not settings.ENV.prometheus_metrics_enabled:
        return fail_result("/metrics is off.", "Set PROMETHEUS_METRICS_ENABLED=1.")
    if not settings.ENV.metrics_token.get_secret_value():
        return fail_result(
            "Prometheus has no token to read /metrics with.", "Set METRICS_TOKEN, and give it to Prometheus."
        )
    if not (settings.BASE_DIR / "monitoring" / "grafana" / "provisioning").is_dir():
        return fail_result(
            "Grafana's provisioning is not part of this installation.", "Deploy monitoring/grafana with it."
        )
    return pass_result("/metrics is served behind its token; Grafana's provisioning and the page /dashboard/ are here")


def check_database_server(_now: datetime) -> CheckResult:
    """A server, used with no more rights than needed."""
    if connection.vendor == "sqlite":
        return warn_result(
            "SQLite: one machine, and one writer at a time.",
            "Set DATABASE_URL to PostgreSQL for more than one machine.",
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        name, is_mighty = cast("tuple[str, bool]", cursor.fetchone())
    if is_mighty:
        return warn_result(
            f"The database user {name} is a superuser or makes roles.",
            "Connect as a role that owns this database only.",
        )
    return pass_result(f"{connection.vendor}, as {name}, who is no superuser")


def check_migrations(now: datetime) -> CheckResult:
    """The database is as the code expects."""
    if reason := health.failure_reason("migrations", health.require_migrations, now):
        return fail_result(reason, "Run manage.py migrate.")
    return pass_result("every migration is applied")


def check_machine(_now: datetime) -> CheckResult:
    """Memory for the kernel and cores for its scans, as this machine or its container has them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory, limit = psutil.virtual_memory().total, settings.ENV.wasm_memory_limit
    if memory < 2 * GIB:
        return fail_result(f"{memory / GIB:.1f} GiB of memory; 2 are needed.", "Use a machine with at least 2 GiB.")
    if limit > memory * 0.8:
        return warn_result(
            f"WASM_MEMORY_LIMIT is {limit / GIB:.1f} GiB of the machine's {memory / GIB:.1f}.",
            "Lower it, or a full kernel brings the machine to swap.",
        )
    if cores < 2:
        return warn_result("One core: a batch slows down every request.", "Use two cores or more.")
    return pass_result(f"{memory / GIB:.0f} GiB, {cores} cores; the kernel may take {limit / GIB:.1f} GiB a process")


def check_api_and_admin_access(_now: datetime) -> CheckResult:
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
        return fail_result("; ".join(wrong) + ".", "Set DEBUG=0 and API_OPEN=0, and name your hosts in ALLOWED_HOSTS.")
    if not get_user_model().objects.filter(is_staff=True, is_active=True).exists():
        return warn_result("No member of staff can sign in.", "Set ADMIN_PASSWORD and run manage.py ensure_admin.")
    return pass_result("debug off, API closed to strangers, hosts named, staff can sign in")


def check_secrets(_now: datetime) -> CheckResult:
    """What lies in Redis is sealed, and Redis itself asks for a password."""
    urls = [urlsplit(url) for url in (settings.ENV.redis_url, settings.ENV.cache_redis_url)]
    if any(url.hostname not in LOCAL_HOSTS and not url.password for url in urls):
        return fail_result(
            "A Redis on another machine asks for no password.", "Set requirepass, and put it into the URL."
        )
    if not settings.ENV.cache_encryption_keys.get_secret_value():
        return warn_result(
            "Personal values in Redis are sealed with a key derived from SECRET_KEY.",
            "Set CACHE_ENCRYPTION_KEYS, so that either can be changed without the other.",
        )
    return pass_result("personal values in Redis are sealed with keys of their own")


def check_workers(now: datetime) -> CheckResult:
    """Workers and beat are there and work."""
    wrong = [f"{finding.name}: {finding.reason}" for finding in workers.check_worker_health(now) if finding.reason]
    if wrong:
        return fail_result(" ".join(wrong), "Start what is missing; docker-compose.yml has each command.")
    return pass_result(f"every queue is worked on ({', '.join(workers.canary_queues())}), beat holds its lock")


def check_memory_growth(now: datetime) -> CheckResult:
    """No process held much more at the end of the last hours than at their beginning."""
    grew = {}
    for process, points in samples.memory_by_process(samples.load_samples(now, LEAK_LOOKBACK)).items():
        if points[-1][0] - points[0][0] >= LEAK_MIN_OBSERVATION.total_seconds():
            third = max(1, len(points) // 3)
            first, last = (median(size for _, size in part) for part in (points[:third], points[-third:]))
            grew[process] = (last - first, last / first - 1)
    if not grew:
        return warn_result(
            f"No process was sampled for {LEAK_MIN_OBSERVATION.seconds // 60} minutes yet.",
            "Put it under load for half an hour (a batch of feeds, benchmarks/feed.py), and ask again.",
        )
    process, (size, share) = max(grew.items(), key=lambda item: item[1])
    said = f"{len(grew)} processes watched; {process} grew most, by {size / MIB:.0f} MiB ({share:.0%})"
    if size > LEAK_MIN_BYTES and share > LEAK_MIN_SHARE:
        return fail_result(f"{said}.", "Watch it on /dashboard/; if it goes on under even load, it leaks.")
    return pass_result(said)


def register_checks() -> None:
    """Add the lines that hold for any service."""
    for title, ask in (
        ("Redis cache cluster configured", check_redis_servers),
        ("Performance monitoring dashboard deployed", check_dashboards),
        ("Database migrated", check_migrations),
        ("Database connections use least privilege", check_database_server),
        ("Memory and cores", check_machine),
        ("Admin endpoints require authentication", check_api_and_admin_access),
        ("Cache data is encrypted at rest", check_secrets),
        ("Workers and beat", check_workers),
        ("Memory leak testing completed", check_memory_growth),
    ):
        register_check(title, ask)


def failed_lines(lines: Iterable[ReportLine]) -> list[ReportLine]:
    """Return the lines that failed."""
    return [line for line in lines if line.verdict is Verdict.FAIL]
