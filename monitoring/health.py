"""
Health checks of this process and of what it calls. Apps register their own checks.

Only a check of what serving needs is required: if it fails, the process is not ready. The service does without the
rest, so its failure is a warning, and the process goes on taking requests. Otherwise a load balancer would remove every
process at once, for the loss of a cache.

All checks run at the same time and share `CHECKS_TIMEOUT_SECONDS`. A check that hangs is reported and keeps running; it
is not started again until it ends. Everybody sees which check fails. The reason may contain an address or a version,
so only staff and clients with METRICS_TOKEN see it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from django.conf import settings
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from monitoring.extensions import extensions_of
from monitoring.redis_clients import redis_client
from monitoring.time_budget import limited_time

Check = Callable[[datetime], None]
"""Called with the current time. Returns if the check passes, raises with the reason if it fails."""

CHECKS_TIMEOUT_SECONDS = 3.0
"""Timeout of all checks together. A probe's own timeout must be longer."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. *reason* is empty if it passed. One that is not required warns and does not fail."""

    name: str
    reason: str
    seconds: float = 0.0
    is_required: bool = True

    @property
    def status(self) -> str:
        """Return pass, warn or fail."""
        if not self.reason:
            return "pass"
        return "fail" if self.is_required else "warn"


class RegisteredCheck:
    """A check with its current run. Callers during a run wait for that run."""

    def __init__(self, name: str, check: Check, is_required: bool) -> None:
        self.name = name
        self._check = check
        self._is_required = is_required
        self._lock = threading.Lock()
        self._run: CheckRun | None = None

    def start_or_join(self, now: datetime) -> CheckRun:
        """Return the current run. Start one if there is none."""
        with self._lock:
            if self._run is None or self._run.finished.is_set():
                self._run = CheckRun(self.name, self._check, self._is_required, now)
            return self._run


class CheckRun:
    """One run of a check in a daemon thread, so that a check that hangs does not block the exit of the process."""

    def __init__(self, name: str, check: Check, is_required: bool, now: datetime) -> None:
        self.name = name
        self._is_required = is_required
        self.finished = threading.Event()
        self._started_at = monotonic()
        self._finding: Finding | None = None
        threading.Thread(target=self._execute, args=(check, now), name=f"check-{name}", daemon=True).start()

    def _execute(self, check: Check, now: datetime) -> None:
        try:
            with limited_time(self._started_at + CHECKS_TIMEOUT_SECONDS):
                reason = failure_reason(self.name, check, now)
        finally:
            connections.close_all()  # the connections of this thread
        self._finding = Finding(self.name, reason, monotonic() - self._started_at, self._is_required)
        self.finished.set()

    def finding(self, deadline: float) -> Finding:
        """Return the result, or a failure if the run has not ended by *deadline* (monotonic seconds)."""
        self.finished.wait(max(0.0, deadline - monotonic()))
        seconds = monotonic() - self._started_at
        reason = f"did not end within {seconds:.1f} s and still runs"
        return self._finding or Finding(self.name, reason, seconds, self._is_required)


extensions = extensions_of(__name__)
_checks: dict[str, RegisteredCheck] = {}


def register_health_check(name: str, check: Check, *, is_required: bool) -> None:
    """Run *check* for each readiness request. A second check with the same name replaces the first."""
    _checks[name] = RegisteredCheck(name, check, is_required)


def run_health_checks(now: datetime) -> list[Finding]:
    """Return the results of all checks after at most `CHECKS_TIMEOUT_SECONDS`, in the order of registration."""
    extensions.load()
    deadline = monotonic() + CHECKS_TIMEOUT_SECONDS
    return [run.finding(deadline) for run in [check.start_or_join(now) for check in _checks.values()]]


def failure_reason(name: str, check: Check, now: datetime) -> str:
    """Run *check*. Return the reason of its failure, or an empty string."""
    try:
        check(now)
    except Exception as error:
        log.warning("health_check_failed", extra={"check": name, "problem": type(error).__name__})
        return f"{type(error).__name__}: {error}"
    return ""


def health_report(findings: Iterable[Finding], *, with_reasons: bool) -> dict[str, object]:
    """Return the body of a health response: the status of each check and, if allowed, the reasons and times."""
    findings = list(findings)
    checks: dict[str, object] = {finding.name: finding.status for finding in findings}
    if with_reasons:
        checks = {
            finding.name: {
                "status": finding.status,
                "reason": finding.reason,
                "seconds": round(finding.seconds, 4),
            }
            for finding in findings
        }
    statuses = {finding.status for finding in findings}
    status = next((status for status in ("fail", "warn") if status in statuses), "pass")
    return {"status": status, "checks": checks}


def ping_database(_now: datetime) -> None:
    """Run a query on the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def require_migrations(_now: datetime) -> None:
    """Raise `RuntimeError` if the database lacks migrations."""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in pending)
        raise RuntimeError(f"migrations not applied: {names}. Run manage.py migrate.")


def ping_redis(_now: datetime) -> None:
    """Ping the Redis servers of the broker and of the caches."""
    for url in dict.fromkeys((settings.ENV.redis_url, settings.ENV.cache_redis_url)):
        with redis_client(url) as client:
            client.ping()


def register() -> None:
    """Register the checks that apply to any service."""
    register_health_check("database", ping_database, is_required=True)
    register_health_check("migrations", require_migrations, is_required=True)
    register_health_check("redis", ping_redis, is_required=False)
