"""Deletes what its time is over for: records are personal data, kept as long as they are of use and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Max, Min, Sum
from django.db.models.functions import Length

from monitoring.maintenance import Did
from monitoring.models import Alert, MaintenanceRun
from recommendations.models import FeedHour, FeedInputs, FeedRequest, Job, Seen, ServedPage
from recommendations.services.serving import inputs

BATCH_ROWS = 1_000
"""Rows deleted at once: others wait so long for the database. Changes the speed."""
RANGE_IDS = 20_000
"""Rows looked at at once, of a table that has no index by age."""
HOURS_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows that are deleted once *field* is as long ago as *keep* says."""

    rows: type[models.Model]
    field: str
    keep: Callable[[], timedelta]
    blobs: tuple[str, ...] = ()
    """Columns whose bytes are counted."""


def log_time() -> timedelta:
    return timedelta(days=settings.ENV.log_keep_days)


def seen_time() -> timedelta:
    return timedelta(days=settings.ENV.seen_keep_days)


# Inputs before the requests that they belong to: else they would go uncounted.
BY_AGE = (
    Kept(FeedInputs, "created_at", lambda: min(inputs.INPUTS_RETENTION, log_time()), ("packed",)),
    Kept(ServedPage, "created_at", log_time, ("post_ids",)),
    Kept(FeedRequest, "created_at", log_time, ("post_ids", "parts", "origins", "reasons")),
    Kept(Job, "finished_at", log_time),
    Kept(MaintenanceRun, "started_at", log_time),
    Kept(Alert, "resolved_at", log_time),
    Kept(FeedHour, "hour", lambda: HOURS_KEPT),
    Kept(Session, "expire_date", timedelta),
)


def sweep_records(*, now: datetime) -> Did:
    """Delete what its time is over for. Cut off, it leaves off, and the next run goes on."""
    swept = {kept.rows._meta.model_name: sweep(kept, now) for kept in BY_AGE}
    swept["seen"] = (sweep_seen(now - seen_time()), 0)
    told = ", ".join(f"{name} {rows:,}" for name, (rows, _) in swept.items() if rows)
    return Did(
        rows=sum(rows for rows, _ in swept.values()), bytes=sum(size for _, size in swept.values()), note=told or "none"
    )


def sweep(kept: Kept, now: datetime) -> tuple[int, int]:
    """Delete a table's old rows, the oldest first; return how many, and their bytes."""
    manager: models.Manager[Any] = kept.rows._default_manager
    old = manager.filter(**{f"{kept.field}__lt": now - kept.keep()}).order_by(kept.field)
    rows = size = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH_ROWS]):
        batch = manager.filter(pk__in=ids).order_by()
        with transaction.atomic():
            size += sum(batch.aggregate(size=Sum(Length(blob)))["size"] or 0 for blob in kept.blobs)
            batch.delete()
        rows += len(ids)
    return rows, size


def sweep_seen(before: datetime) -> int:
    """Forget what was seen before a moment; a post may then be shown again. Return how many rows."""
    ends = Seen.objects.aggregate(low=Min("pk"), high=Max("pk"))
    if ends["low"] is None:
        return 0
    old = Seen.objects.filter(seen_at__lt=before).order_by()
    starts = range(ends["low"], ends["high"] + 1, RANGE_IDS)
    return sum(old.filter(pk__gte=start, pk__lt=start + RANGE_IDS).delete()[0] for start in starts)
