"""Maintenance tasks of recommendations: the name of each task and the service that it calls."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail

from flags.services import stale_flags, weekly_digest
from monitoring import maintenance
from monitoring.maintenance import MaintenanceResult
from recommendations.models import EmbeddingModel, Evaluation
from recommendations.services import wiring
from recommendations.services.learning import co_likes, rings
from recommendations.services.measuring import evaluations, roll_up
from recommendations.services.members import erasure
from recommendations.services.training import trained_models
from recommendations.services.upkeep import process_memory, retention, sweep, trim_change_log
from recommendations.services.vectors import archive, reindexing

EVALUATE_COMMAND = (sys.executable, str(settings.BASE_DIR / "manage.py"), "evaluate", "--store", "--quick")
"""The peers have one configuration each, so that the scores of two nights compare."""


class EvaluationError(RuntimeError):
    """The evaluation failed. The message is the last that it printed."""


class CacheSweepError(RuntimeError):
    """Redis did not respond, so the shared caches were not swept."""


def sweep_caches(now: datetime) -> MaintenanceResult:
    """Trim the shared caches."""
    swept = sweep.sweep_caches(now=now)
    if not swept:
        raise CacheSweepError("The caches' Redis did not respond.")
    sizes = ", ".join(
        f"{name} {result.entries:,} entries, {result.size_bytes:,} bytes" for name, result in swept.items()
    )
    removed = sum(result.expired + result.evicted for result in swept.values())
    return MaintenanceResult(rows=removed, note=f"remaining: {sizes}")


def check_memory(_now: datetime) -> MaintenanceResult:
    """Check the memory of this process, and clean up if it exceeds a threshold."""
    freed = process_memory.check_memory()
    steps = ", ".join(f"{step} {size:,}" for step, size in freed.items())
    return MaintenanceResult(
        rows=len(freed), bytes=sum(freed.values()), note=f"freed: {steps}" if freed else "within bounds"
    )


def check_index(now: datetime) -> MaintenanceResult:
    """Compare each index with the database, and rewrite the differing posts in Qdrant."""
    wrong_posts, notes = 0, []
    for space in active_spaces():
        for drift in reindexing.compare_indexes(space=space, now=now):
            wrong_posts += drift.wrong_posts
            notes.append(f"{space} {drift.index}: {drift.wrong_posts:,} of {drift.in_database:,} differ")
            if drift.wrong_posts and drift.index == "qdrant":
                written = reindexing.reindex(space=space, resume=not drift.different, now=now)
                notes.append(f"{written:,} rewritten")
    return MaintenanceResult(rows=wrong_posts, note="; ".join(notes) or "no active embedding model")


def optimize_index(now: datetime) -> MaintenanceResult:
    """Let Qdrant merge its segments and drop deleted points. Each process compacts its resident vectors itself."""
    indexes = [index for space in active_spaces() if (index := wiring.vector_index(space))]
    return MaintenanceResult(rows=sum(index.optimize() for index in indexes), note="" if indexes else "no Qdrant")


def report_stale_flags(now: datetime) -> MaintenanceResult:
    """Report the flags that should be removed from the code. The admin's list of flags filters by it, with reasons."""
    keys = [flag.key for flag, _ in stale_flags.find_stale_flags(now=now)]
    return MaintenanceResult(rows=len(keys), note=", ".join(keys) or "none")


def send_experiment_digest(now: datetime) -> MaintenanceResult:
    """Write the weekly digest of the experiments to the record, and mail it to ALERT_EMAILS."""
    lines = weekly_digest.build_weekly_digest(now=now)
    if lines and settings.ENV.alert_emails:
        send_mail("[recsys] experiments of the week", "\n".join(lines), None, settings.ENV.alert_emails)
    return MaintenanceResult(rows=len(lines), note=" ".join(lines) or "none")


def delete_old_models(now: datetime) -> MaintenanceResult:
    """Delete the arrays of old trained models. Their rows stay."""
    models, size = trained_models.delete_old_arrays(now=now)
    return MaintenanceResult(rows=models, bytes=size)


def finish_erasures(now: datetime) -> MaintenanceResult:
    """Clear what was written during an erasure and the trained models that contain the member; finish the receipt."""
    finished, still_open = erasure.finish_erasures(now=now)
    return MaintenanceResult(rows=finished, note=f"{still_open} open" if still_open else "none open")


def evaluate(_now: datetime) -> MaintenanceResult:
    """
    Evaluate the product on this platform's data, in a process of its own, and store the result.

    This process must not load SciPy, and the memory of an evaluation is free again at its end.
    """
    done = subprocess.run(EVALUATE_COMMAND, capture_output=True, text=True, check=False)
    if done.returncode == evaluations.NOTHING_TO_EVALUATE:
        return MaintenanceResult(note=last_line(done.stderr))
    if done.returncode:
        raise EvaluationError(last_line(done.stderr))
    newest = Evaluation.objects.first()
    score = newest and newest.quality_score
    return MaintenanceResult(
        rows=newest.case_count if newest else 0,
        note="no peers" if score is None else f"quality score {score:.2f}",
    )


def last_line(text: str) -> str:
    """Return the last line of *text*; empty if it has none."""
    return (text.strip().splitlines() or [""])[-1]


def active_spaces() -> list[str]:
    """Return the spaces with an active embedding model."""
    rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE).order_by("space")
    return list(rows.values_list("space", flat=True))


def register() -> None:
    """Register these tasks."""
    maintenance.register_maintenance_task("sweep_caches", sweep_caches)
    maintenance.register_maintenance_task("trim_change_log", lambda now: trim_change_log.trim_change_log(now=now))
    maintenance.register_maintenance_task("check_memory", check_memory)
    maintenance.register_maintenance_task(
        "delete_expired_records", lambda now: retention.delete_expired_records(now=now)
    )
    maintenance.register_maintenance_task("delete_old_models", delete_old_models)
    maintenance.register_maintenance_task("finish_erasures", finish_erasures)
    maintenance.register_maintenance_task("roll_up_hours", lambda now: MaintenanceResult(rows=roll_up.roll_up(now=now)))
    maintenance.register_maintenance_task(
        "recount_co_likes", lambda now: MaintenanceResult(rows=co_likes.recount(now=now))
    )
    maintenance.register_maintenance_task("damp_rings", lambda now: rings.damp_rings(now=now))
    maintenance.register_maintenance_task("archive_embeddings", lambda now: archive.archive_embeddings(now=now))
    maintenance.register_maintenance_task("check_index", check_index)
    maintenance.register_maintenance_task("optimize_index", optimize_index)
    maintenance.register_maintenance_task("evaluate", evaluate)
    maintenance.register_maintenance_task("report_stale_flags", report_stale_flags)
    maintenance.register_maintenance_task("send_experiment_digest", send_experiment_digest)
