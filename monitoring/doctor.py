"""
The deployment checklist, checked against the running configuration: each line passes, warns or fails, with a fix.

This module has the checks that apply to any service; each app registers its own. A check that raises has failed.
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

from monitoring import health, samples, workers
from monitoring.extensions import extensions_of
from monitoring.redis_clients import redis_client

MIB, GIB = 2**20, 2**30
LEAK_LOOKBACK, LEAK_MIN_OBSERVATION = timedelta(hours=2), timedelta(minutes=30)
LEAK_MIN_BYTES, LEAK_MIN_SHARE = 100 * MIB, 0.2
"""A process that grew by more than both of these has a leak, or its caches were not full yet."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "")


class Verdict(StrEnum):
    """The result of a check."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check, and what to do about it."""

    verdict: Verdict
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line of the checklist with its result."""

    title: str
    verdict: Verdict
    message: str
    fix: str


DoctorCheck = Callable[[datetime], CheckResult]
extensions = extensions_of(__name__)
_checks: dict[str, DoctorCheck] = {}


def pass_result(message: str) -> CheckResult:
    return CheckResult(Verdict.PASS, message)


def warn_result(message: str, fix: str) -> CheckResult:
    return CheckResult(Verdict.WARN, message, fix)


def fail_result(message: str, fix: str) -> CheckResult:
    return CheckResult(Verdict.FAIL, message, fix)


def register_check(title: str, check: DoctorCheck) -> None:
    """Register a check. A second check with the same title replaces the first."""
    _checks[title] = check


def run_checks(now: datetime) -> list[ReportLine]:
    """Run every check. Return the lines in the order of registration."""
    extensions.load()
    return [run_check(title, check, now) for title, check in _checks.items()]


def run_check(title: str, check: DoctorCheck, now: datetime) -> ReportLine:
    """Run one check. An error is a failure whose message has the error's type and text."""
    try:
        result = check(now)
    except Exception as error:
        result = fail_result(
            f"The check raised {type(error).__name__}: {error}", "Fix the cause of the error and run doctor again."
        )
    return ReportLine(title, result.verdict, result.message, result.fix)


# Checks for any service


def check_redis_servers(_now: datetime) -> CheckResult:
    """The broker's Redis must not evict keys; the caches' Redis must be able to."""
    broker, cache = read_redis_facts(settings.ENV.redis_url), read_redis_facts(settings.ENV.cache_redis_url)
    if broker["policy"] != "noeviction":
        return fail_result(
            f"The broker's Redis evicts keys ({broker['policy']}): task messages and records would be lost.",
            "Set maxmemory-policy noeviction on the server of REDIS_URL.",
        )
    if not broker["appendonly"]:
        return warn_result(
            "The broker's Redis writes no append-only file: its data is lost when it stops.",
            "Set appendonly yes on the server of REDIS_URL.",
        )
    if cache["run_id"] == broker["run_id"]:
        return warn_result(
            "Broker and caches share one Redis, which must not evict: full caches would stop the broker.",
            "Set CACHE_REDIS_URL to a server of its own with maxmemory and allkeys-lru. Not needed for development.",
        )
    if not cache["maxmemory"] or cache["policy"] == "noeviction":
        return warn_result(
            "The caches' Redis has no memory limit or does not evict.",
            "Set maxmemory and maxmemory-policy allkeys-lru on the server of CACHE_REDIS_URL.",
        )
    kind = "cluster" if cache["cluster"] else "single server"
    return pass_result(f"the broker does not evict; the caches ({kind}) evict at {cache['maxmemory'] >> 20} MiB")


def read_redis_facts(url: str) -> dict[str, Any]:
    """Return the settings of the Redis at *url*, from INFO: a managed server may reject CONFIG."""
    with redis_client(url) as client:
        info = cast("dict[str, Any]", client.info())
    return {
        "run_id": info["run_id"],
        "policy": info["maxmemory_policy"],
        "maxmemory": int(info["maxmemory"]),
        "appendonly": bool(info["aof_enabled"]),
        "cluster": bool(info.get("cluster_enabled")),
    }


def check_dashboards(_now: datetime) -> CheckResult:
    """/metrics is enabled with a token, and Grafana's provisioning is deployed."""
    if not settings.ENV.prometheus_metrics_enabled:
        return fail_result("/metrics is disabled.", "Set PROMETHEUS_METRICS_ENABLED=1.")
    if not settings.ENV.metrics_token.get_secret_value():
        return fail_result(
            "METRICS_TOKEN is not set: Prometheus cannot read /metrics.",
            "Set METRICS_TOKEN here and in the Prometheus configuration.",
        )
    if not (settings.BASE_DIR / "monitoring" / "grafana" / "provisioning").is_dir():
        return fail_result("Grafana's provisioning is not deployed.", "Deploy monitoring/grafana with the code.")
    return pass_result("/metrics requires its token; Grafana's provisioning and /dashboard/ are deployed")


def check_database_server(_now: datetime) -> CheckResult:
    """The database is a server, and its user has no more rights than needed."""
    if connection.vendor == "sqlite":
        return warn_result(
            "The database is SQLite: one machine and one writer at a time.",
            "Set DATABASE_URL to a PostgreSQL server to use more than one machine.",
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        name, is_privileged = cast("tuple[str, bool]", cursor.fetchone())
    if is_privileged:
        return warn_result(
            f"The database user {name} is a superuser or may create roles.",
            "Connect as a role that owns only this database.",
        )
    return pass_result(f"{connection.vendor}; the user {name} is not a superuser")


def check_migrations(now: datetime) -> CheckResult:
    """Every migration is applied."""
    if reason := health.failure_reason("migrations", health.require_migrations, now):
        return fail_result(reason, "Run manage.py migrate.")
    return pass_result("every migration is applied")


def check_machine(_now: datetime) -> CheckResult:
    """The machine has enough memory for the kernel and enough cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory, limit = psutil.virtual_memory().total, settings.ENV.wasm_memory_limit
    if memory < 2 * GIB:
        return fail_result(
            f"The machine has {memory / GIB:.1f} GiB of memory; 2 GiB are needed.", "Use a machine with at least 2 GiB."
        )
    if limit > memory * 0.8:
        return warn_result(
            f"WASM_MEMORY_LIMIT is {limit / GIB:.1f} GiB; the machine has {memory / GIB:.1f} GiB.",
            "Lower WASM_MEMORY_LIMIT: a full kernel would make the machine swap.",
        )
    if cores < 2:
        return warn_result("The machine has one core: batch jobs slow down requests.", "Use two cores or more.")
    return pass_result(f"{memory / GIB:.0f} GiB, {cores} cores; kernel limit {limit / GIB:.1f} GiB per process")


def check_api_and_admin_access(_now: datetime) -> CheckResult:
    """Debug mode is off, the API requires keys, staff two factors over TLS, hosts are named, a staff user exists."""
    problems = [
        f"{name}: {problem}"
        for name, problem, has_problem in (
            ("DEBUG", "errors show tracebacks to everybody", settings.DEBUG),
            ("API_OPEN", "the API requires no key", settings.ENV.api_open),
            ("HTTPS", "sessions of staff are sent without TLS", not settings.ENV.https),
            ("SECOND_FACTOR", "a password alone opens the admin", not settings.ENV.second_factor),
            ("ALLOWED_HOSTS", "any host name is accepted", "*" in settings.ALLOWED_HOSTS),
        )
        if has_problem
    ]
    if problems:
        return fail_result(
            "; ".join(problems) + ".",
            "Set DEBUG=0, API_OPEN=0, HTTPS=1 and SECOND_FACTOR=1, and list the host names in ALLOWED_HOSTS.",
        )
    if not get_user_model().objects.filter(is_staff=True, is_active=True).exists():
        return warn_result("No active staff user exists.", "Set ADMIN_PASSWORD and run manage.py ensure_admin.")
    return pass_result("debug mode is off, the API requires keys and staff two factors, hosts are listed")


def check_secrets(_now: datetime) -> CheckResult:
    """Personal data in Redis is encrypted, and a remote Redis requires a password."""
    urls = [urlsplit(url) for url in (settings.ENV.redis_url, settings.ENV.cache_redis_url)]
    if any(url.hostname not in LOCAL_HOSTS and not url.password for url in urls):
        return fail_result(
            "A Redis URL on another machine has no password.", "Set requirepass, and add the password to the URL."
        )
    if not settings.ENV.cache_encryption_keys.get_secret_value():
        return warn_result(
            "Personal data in Redis is encrypted with a key derived from SECRET_KEY.",
            "Set CACHE_ENCRYPTION_KEYS, so that either key can be changed without the other.",
        )
    return pass_result("personal data in Redis is encrypted with its own keys")


def check_workers(now: datetime) -> CheckResult:
    """Every queue has a working worker, and beat runs."""
    failures = [f"{finding.name}: {finding.reason}" for finding in workers.check_worker_health(now) if finding.reason]
    if failures:
        return fail_result(" ".join(failures), "Start the missing processes; docker-compose.yml has the commands.")
    return pass_result(f"every queue has a working worker ({', '.join(workers.canary_queues())}); beat holds its lock")


def check_memory_growth(now: datetime) -> CheckResult:
    """
    No process grew much within `LEAK_LOOKBACK`.

    Compares the median memory of the first third of a process's samples with that of the last third.
    """
    growth = {}
    for process, points in samples.memory_by_process(samples.load_samples(now, LEAK_LOOKBACK)).items():
        if points[-1][0] - points[0][0] >= LEAK_MIN_OBSERVATION.total_seconds():
            third = max(1, len(points) // 3)
            first, last = (median(size for _, size in part) for part in (points[:third], points[-third:]))
            growth[process] = (last - first, last / first - 1)
    if not growth:
        return warn_result(
            f"No process has samples over {LEAK_MIN_OBSERVATION.seconds // 60} minutes yet.",
            "Run a load for half an hour (a batch of feeds, benchmarks/feed.py), and run doctor again.",
        )
    process, (size, share) = max(growth.items(), key=lambda item: item[1])
    message = f"{len(growth)} processes compared; {process} grew most, by {size / MIB:.0f} MiB ({share:.0%})"
    if size > LEAK_MIN_BYTES and share > LEAK_MIN_SHARE:
        return fail_result(
            f"{message}.", "Watch its memory on /dashboard/: growth that continues under constant load is a leak."
        )
    return pass_result(message)


def register() -> None:
    """Register the checks that apply to any service."""
    for title, check in (
        ("Redis cache cluster configured", check_redis_servers),
        ("Performance monitoring dashboard deployed", check_dashboards),
        ("Database migrated", check_migrations),
        ("Database connections use least privilege", check_database_server),
        ("Memory and cores", check_machine),
        ("Admin endpoints require authentication", check_api_and_admin_access),
        ("Cache data is encrypted at rest", check_secrets),
        ("Workers and beat", check_workers),
        ("Memory does not grow", check_memory_growth),
    ):
        register_check(title, check)


def failed_lines(lines: Iterable[ReportLine]) -> list[ReportLine]:
    """Return the lines that failed."""
    return [line for line in lines if line.verdict is Verdict.FAIL]
