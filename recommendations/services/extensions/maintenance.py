"""What recommending has done by the clock: each duty's name, and the service that it is."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail

from flags.services import stale_flags, weekly_digest
from monitoring import maintenance
from monitoring.maintenance import MaintenanceResult
from recommendations.models import EmbeddingModel
from recommendations.services import wiring
from recommendations.services.measuring import roll_up
from recommendations.services.upkeep import process_memory, retention, sweep, trim_change_log
from recommendations.services.vectors import archive, reindexing


class CacheSweepError(RuntimeError):
    """Redis did not answer: what is shared could not be swept."""


def sweep_caches(now: datetime) -> MaintenanceResult:
    """Trim the shared caches."""
    swept = sweep.sweep_caches(now=now)
    if not swept:
        raise CacheSweepError("The caches' Redis did not answer.")
    left = ", ".join(f"{name} {one.entries:,} entries, {one.size_bytes:,} bytes" for name, one in swept.items())
    return MaintenanceResult(rows=sum(one.expired + one.evicted for one in swept.values()), note=f"left: {left}")


def check_memory(_now: datetime) -> MaintenanceResult:
    """Have the process that does this look at its own memory, and clean up if it holds too much."""
    freed = process_memory.check_memory()
    told = ", ".join(f"{step} {size:,}" for step, size in freed.items())
    return MaintenanceResult(
        rows=len(freed), bytes=sum(freed.values()), note=f"gave back: {told}" if freed else "within bounds"
    )


def check_index(now: datetime) -> MaintenanceResult:
    """Compare each index with the database; write to Qdrant what it lacks."""
    wrong, told = 0, []
    for space in active_spaces():
        for one in reindexing.compare_indexes(space=space, now=now):
            wrong += one.wrong_posts
            told.append(f"{space} {one.index}: {one.wrong_posts:,} of {one.in_database:,} differ")
            if one.wrong_posts and one.index == "qdrant":
                told.append(f"{reindexing.reindex(space=space, resume=not one.different, now=now):,} written again")
    return MaintenanceResult(rows=wrong, note="; ".join(told) or "no active model")


def optimize_index(now: datetime) -> MaintenanceResult:
    """Have Qdrant merge its segments and drop what was deleted. Resident vectors are kept dense by each process."""
    indexes = [index for space in active_spaces() if (index := wiring.vector_index(space))]
    return MaintenanceResult(rows=sum(index.optimize() for index in indexes), note="" if indexes else "no Qdrant")


def report_stale_flags(now: datetime) -> MaintenanceResult:
    """Name the flags that the code should be rid of; the admin's list of flags filters by it, and says why."""
    keys = [flag.key for flag, _ in stale_flags.find_stale_flags(now=now)]
    return MaintenanceResult(rows=len(keys), note=", ".join(keys) or "none")


def send_experiment_digest(now: datetime) -> MaintenanceResult:
    """Say how the week's experiments stand: kept here, and mailed to ALERT_EMAILS."""
    lines = weekly_digest.build_weekly_digest(now=now)
    if lines and settings.ENV.alert_emails:
        send_mail("[recsys] experiments of the week", "\n".join(lines), None, settings.ENV.alert_emails)
    return MaintenanceResult(rows=len(lines), note=" ".join(lines) or "none")


def active_spaces() -> list[str]:
    """Return the spaces that a model serves."""
    rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE).order_by("space")
    return list(rows.values_list("space", flat=True))


def register_maintenance_tasks() -> None:
    """Let these be asked for by their names."""
    maintenance.register_maintenance_task("sweep_caches", sweep_caches)
    maintenance.register_maintenance_task("trim_change_log", lambda now: trim_change_log.trim_change_log(now=now))
    maintenance.register_maintenance_task("check_memory", check_memory)
    maintenance.register_maintenance_task(
        "delete_expired_records", lambda now: retention.delete_expired_records(now=now)
    )
    maintenance.register_maintenance_task("roll_up_hours", lambda now: MaintenanceResult(rows=roll_up.roll_up(now=now)))
    maintenance.register_maintenance_task("archive_embeddings", lambda now: archive.archive_embeddings(now=now))
    maintenance.register_maintenance_task("check_index", check_index)
    maintenance.register_maintenance_task("optimize_index", optimize_index)
    maintenance.register_maintenance_task("report_stale_flags", report_stale_flags)
    maintenance.register_maintenance_task("send_experiment_digest", send_experiment_digest)
