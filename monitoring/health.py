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

SECONDS = 3.0
"""How long a look at readiness waits; a probe's own limit lies above it."""
TIMEOUT_SECONDS = 2
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check; *reason* is empty if all is well."""

    name: str
    reason: str
    seconds: float = 0.0


class Registered:
    """A check and its run that is under way: whoever asks meanwhile waits for that one."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._lock = threading.Lock()
        self._run: Run | None = None

    def run(self, now: datetime) -> Run:
        """Return the run that is under way, begun now if there is none."""
        with self._lock:
            if self._run is None or self._run.over.is_set():
                self._run = Run(self.name, self._check, now)
            return self._run


class Run:
    """One run of a check, in a thread of its own that no exit waits for."""

    def __init__(self, name: str, check: Check, now: datetime) -> None:
        self.name = name
        self.over = threading.Event()
        self._began = monotonic()
        self._finding: Finding | None = None
        threading.Thread(target=self._do, args=(check, now), name=f"check-{name}", daemon=True).start()

    def _do(self, check: Check, now: datetime) -> None:
        try:
            reason = reason_of(self.name, check, now)
        finally:
            # The thread's own connections end with it.
            connections.close_all()
        self._finding = Finding(self.name, reason, monotonic() - self._began)
        self.over.set()

    def finding(self, deadline: float) -> Finding:
        """Return what came of it, or that nothing did by *deadline* (monotonic seconds)."""
        self.over.wait(max(0.0, deadline - monotonic()))
        took = monotonic() - self._began
        return self._finding or Finding(self.name, f"did not end within {took:.1f} s; it still runs", took)


_checks: dict[str, Registered] = {}


def register(name: str, check: Check) -> None:
    """Ask *check* on every look at readiness; a second one of the same name takes the first one's place."""
    _checks[name] = Registered(name, check)


def findings(now: datetime) -> list[Finding]:
    """Return what every check found within `SECONDS`, in the order they were registered."""
    deadline = monotonic() + SECONDS
    return [run.finding(deadline) for run in [check.run(now) for check in _checks.values()]]


def reason_of(name: str, check: Check, now: datetime) -> str:
    """Return why *check* failed, or an empty text."""
    try:
        check(now)
    except Exception as error:
        logger.warning("not_ready", check=name, problem=type(error).__name__)
        return f"{type(error).__name__}: {error}"
    return ""


def report(found: Iterable[Finding], *, with_reasons: bool) -> dict[str, object]:
    """Return *found* as the body of an answer: pass or fail, and the reasons only for who may have them."""
    found = list(found)
    checks: dict[str, object] = {one.name: "fail" if one.reason else "pass" for one in found}
    if with_reasons:
        checks = {
            one.name: {"status": checks[one.name], "reason": one.reason, "seconds": round(one.seconds, 4)}
            for one in found
        }
    return {"status": "fail" if any(one.reason for one in found) else "pass", "checks": checks}


def database(_now: datetime) -> None:
    """Read from the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def migrations(_now: datetime) -> None:
    """Refuse a database that is behind the code."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in waiting)
        raise RuntimeError(f"not applied yet: {names}. Run manage.py migrate.")


def redis(_now: datetime) -> None:
    """Ask the broker's Redis and the caches' for a word."""
    for url in dict.fromkeys((settings.ENV.redis_url, settings.ENV.cache_redis_url)):
        with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
            client.ping()
