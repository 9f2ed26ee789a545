"""
What must work before this process takes requests. Apps add their own checks; we know nothing of what they are for.

Only the names of failing checks are for everyone: the reason may tell an address or a version.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from redis import Redis

Check = Callable[[datetime], None]
"""Is handed this moment; returns if all is well, raises with the reason if not."""

TIMEOUT_SECONDS = 2
logger = structlog.get_logger(__name__)
_checks: dict[str, Check] = {}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check; *reason* is empty if all is well."""

    name: str
    reason: str


def register(name: str, check: Check) -> None:
    """Ask *check* on every look at readiness; a second one of the same name takes the first one's place."""
    _checks[name] = check


def findings(now: datetime) -> list[Finding]:
    """Return what every check found, in the order they were registered."""
    return [Finding(name, reason_of(name, check, now)) for name, check in _checks.items()]


def reason_of(name: str, check: Check, now: datetime) -> str:
    """Return why *check* failed, or an empty text."""
    try:
        check(now)
    except Exception as error:
        logger.warning("not_ready", check=name, error=type(error).__name__)
        return f"{type(error).__name__}: {error}"
    return ""


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
