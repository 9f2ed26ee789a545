"""What recommending has done by the clock: each duty's name, and the service that it is."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail

from flags.services import digest, stale
from monitoring import maintenance
from monitoring.maintenance import Did
from recommendations.models import EmbeddingModel
from recommendations.services import wiring
from recommendations.services.measuring import roll_up
from recommendations.services.upkeep import cut_changes, process_memory, retention, sweep
from recommendations.services.vectors import archive, reindexing


class NotSweptError(RuntimeError):
    """Redis did not answer: what is shared could not be swept."""


def sweep_caches(now: datetime) -> Did:
    """Trim the shared caches."""
    swept = sweep.sweep_caches(now=now)
    if not swept:
        raise NotSweptError("The caches' Redis did not answer.")
    left = ", ".join(f"{name} {one.entries:,} entries, {one.size_bytes:,} bytes" for name, one in swept.items())
    return Did(rows=sum(one.expired + one.evicted for one in swept.values()), note=f"left: {left}")


def check_memory(_now: datetime) -> Did:
    """Have the process that does this look at its own memory, and clean up if it holds too much."""
    freed = process_memory.check_memory()
    told = ", ".join(f"{step} {size:,}" for step, size in freed.items())
    return Did(rows=len(freed), bytes=sum(freed.values()), note=f"gave back: {told}" if freed else "within bounds")


def check_index(now: datetime) -> Did:
    """Compare each index with the database; write to Qdrant what it lacks."""
    wrong, told = 0, []
    for space in active_spaces():
        for one in reindexing.drift(space=space, now=now):
            wrong += one.posts
            told.append(f"{space} {one.index}: {one.posts:,} of {one.in_database:,} differ")
            if one.posts and one.index == "qdrant":
                told.append(f"{reindexing.reindex(space=space, resume=not one.different, now=now):,} written again")
    return Did(rows=wrong, note="; ".join(told) or "no active model")


def optimise_index(now: datetime) -> Did:
    """Have Qdrant merge its segments and drop what was deleted. Resident vectors are kept dense by each process."""
    indexes = [index for space in active_spaces() if (index := wiring.vector_index(space))]
    return Did(rows=sum(index.optimise() for index in indexes), note="" if indexes else "no Qdrant")


def report_stale_flags(now: datetime) -> Did:
    """Name the flags that the code should be rid of; the admin's list of flags filters by it, and says why."""
    keys = [flag.key for flag, _ in stale.stale(now=now)]
    return Did(rows=len(keys), note=", ".join(keys) or "none")


def digest_experiments(now: datetime) -> Did:
    """Say how the week's experiments stand: kept here, and mailed to ALERT_EMAILS."""
    lines = digest.digest(now=now)
    if lines and settings.ENV.alert_emails:
        send_mail("[recsys] experiments of the week", "\n".join(lines), None, settings.ENV.alert_emails)
    return Did(rows=len(lines), note=" ".join(lines) or "none")


def active_spaces() -> list[str]:
    """Return the spaces that a model serves."""
    rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE).order_by("space")
    return list(rows.values_list("space", flat=True))


def register() -> None:
    """Let these be asked for by their names."""
    maintenance.register("sweep_caches", sweep_caches)
    maintenance.register("cut_changes", lambda now: cut_changes.cut_changes(now=now))
    maintenance.register("check_memory", check_memory)
    maintenance.register("sweep_records", lambda now: retention.sweep_records(now=now))
    maintenance.register("roll_up_feeds", lambda now: Did(rows=roll_up.roll_up(now=now)))
    maintenance.register("archive_embeddings", lambda now: archive.archive_embeddings(now=now))
    maintenance.register("check_index", check_index)
    maintenance.register("optimise_index", optimise_index)
    maintenance.register("report_stale_flags", report_stale_flags)
    maintenance.register("digest_experiments", digest_experiments)
