"""
What must work before this process takes requests. Apps add their own checks; we know nothing of what they are for.

Every check has `SECONDS`, all at the same time: one that hangs is reported, is left to end, and is not begun again
meanwhile. A stranger learns which check fails; the reason may tell an address or a version, and is for staff.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import structlog
from django.conf import settings
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from redis import Redis

Check = Callable[[datetime], None]
"""Is handed this moment; returns if all is well, raises with the reason if not."""

CHECKS_TIMEOUT_SECONDS = 3.0
"""How long a look at readiness waits; a probe's own limit lies above it."""
TIMEOUT_SECONDS = 2
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check; *reason* is empty if all is well."""

    name: str
    reason: str
    seconds: float = 0.0


class RegisteredCheck:
    """A check and its run that is under way: whoever asks meanwhile waits for that one."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._lock = threading.Lock()
        self._run: CheckRun | None = None

    def start_or_join(self, now: datetime) -> CheckRun:
        """Return the run that is under way, begun now if there is none."""
        with self._lock:
            if self._run is None or self._run.finished.is_set():
                self._run = CheckRun(self.name, self._check, now)
            return self._run


class CheckRun:
    """One run of a check, in a thread of its own that no exit waits for."""

    def __init__(self, name: str, check: Check, now: datetime) -> None:
        self.name = name
        self.finished = threading.Event()
        self._started_at = monotonic()
        self._finding: Finding | None = None
        threading.Thread(target=self._execute, args=(check, now), name=f"check-{name}", daemon=True).start()

    def _execute(self, check: Check, now: datetime) -> None:
        try:
            reason = failure_reason(self.name, check, now)
        finally:
            # The thread's own connections end with it.
            connections.close_all()
        self._finding = Finding(self.name, reason, monotonic() - self._started_at)
        self.finished.set()

    def finding(self, deadline: float) -> Finding:
        """Return what came of it, or that nothing did by *deadline* (monotonic seconds)."""
        self.finished.wait(max(0.0, deadline - monotonic()))
        took = monotonic() - self._started_at
        return self._finding or Finding(self.name, f"did not end within {took:.1f} s; it still runs", took)


_checks: dict[str, RegisteredCheck] = {}


def register_health_check(name: str, check: Check) -> None:
    """Ask *check* on every look at readiness; a second one of the same name takes the first one's place."""
    _checks[name] = RegisteredCheck(name, check)


def run_health_checks(now: datetime) -> list[Finding]:
    """Return what every check found within `SECONDS`, in the order they were registered."""
    deadline = monotonic() + CHECKS_TIMEOUT_SECONDS
    return [run.finding(deadline) for run in [check.start_or_join(now) for check in _checks.values()]]


def failure_reason(name: str, check: Check, now: datetime) -> str:
    """Return why *check* failed, or an empty text."""
    try:
        check(now)
    except Exception as error:
        logger.warning("health_check_failed", check=name, problem=type(error).__name__)
        return f"{type(error).__name__}: {error}"
    return ""


def health_report(found: Iterable[Finding], *, with_reasons: bool) -> dict[str, object]:
    """Return *found* as the body of an answer: pass or fail, and the reasons only for who may have them."""
    found = list(found)
    checks: dict[str, object] = {one.name: "fail" if one.reason else "pass" for one in found}
    if with_reasons:
        checks = {
            one.name: {"status": checks[one.name], "reason": one.reason, "seconds": round(one.seconds, 4)}
            for one in found
        }
    return {"status": "fail" if any(one.reason for one in found) else "pass", "checks": checks}


def ping_database(_now: datetime) -> None:
    """Read from the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def require_migrations(_now: datetime) -> None:
    """Refuse a database that is behind the code."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in waiting)
        raise RuntimeError(f"not applied yet: {names}. Run manage.py migrate.")


def ping_redis(_now: datetime) -> None:
    """Ask the broker's Redis and the caches' for a word."""
    for url in dict.fromkeys((settings.ENV.redis_url, settings.ENV.cache_redis_url)):
        with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
            client.ping()
