"""Maintenance of the database: planner statistics, and the space of deleted rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from monitoring import maintenance
from monitoring.maintenance import MaintenanceResult


def optimize_database(_now: datetime) -> MaintenanceResult:
    """Refresh the planner's statistics and reclaim space. Does not lock tables, but reads and writes a lot."""
    before = database_size_bytes()
    if connection.vendor == "sqlite":
        # Not VACUUM: it locks the database while it rewrites the whole file.
        fetch_row("PRAGMA optimize")
        fetch_row("PRAGMA wal_checkpoint(TRUNCATE)")
        free = fetch_row("PRAGMA freelist_count")[0] * fetch_row("PRAGMA page_size")[0]
        note = f"{before >> 20} MiB, {free >> 20} MiB of them free"
    elif not may_vacuum():
        note = "left to autovacuum: the database role owns no tables (docs/security.md)"
    else:
        fetch_row("VACUUM (ANALYZE)")
        note = f"{database_size_bytes() >> 20} MiB"
    return MaintenanceResult(
        rows=len(connection.introspection.table_names()), bytes=max(0, before - database_size_bytes()), note=note
    )


def may_vacuum() -> bool:
    """Return whether the database role may vacuum. PostgreSQL would skip the tables and report no error."""
    # 170000: `roles.sql` grants pg_maintain, which PostgreSQL has since version 17.
    return bool(
        fetch_row(
            "SELECT pg_has_role(relowner, 'USAGE') OR current_setting('server_version_num')::int >= 170000"
            " FROM pg_class WHERE oid = 'django_migrations'::regclass"
        )[0]
    )


def database_size_bytes() -> int:
    """Return the size of the database in bytes."""
    if connection.vendor == "sqlite":
        return int(fetch_row("PRAGMA page_count")[0] * fetch_row("PRAGMA page_size")[0])
    return int(fetch_row("SELECT pg_database_size(current_database())")[0])


def fetch_row(statement: str) -> tuple[Any, ...]:
    """Run a statement. Return its first row, or an empty tuple."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return tuple(cursor.fetchone() or ()) if cursor.description else ()


def register() -> None:
    """Register the maintenance task."""
    maintenance.register_maintenance_task("optimize_database", optimize_database)
