"""Retention: deletes expired records. Records are personal data and are stored only as long as they are useful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Exists, Max, Min, OuterRef, Sum
from django.db.models.functions import Length

from monitoring.maintenance import MaintenanceResult
from monitoring.models import Alert, MaintenanceRun
from monitoring.transactions import write_transaction
from recommendations.models import (
    DampedEngagement,
    FeedHour,
    FeedInputs,
    FeedRequest,
    Interaction,
    Job,
    SeenPost,
    ServedPage,
)
from recommendations.services.serving import inputs

BATCH_ROWS = 1_000
"""Rows deleted per transaction, while other writers wait. Changes the speed."""
IDS_PER_RANGE = 20_000
"""Size of the id ranges in which a table without an index by age is scanned."""
FEED_HOUR_RETENTION = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Rows of *model* are deleted once *field* is older than *period* returns."""

    model: type[models.Model]
    field: str
    period: Callable[[], timedelta]
    blob_fields: tuple[str, ...] = ()
    """Columns whose bytes are counted in the record of the run."""


def log_retention() -> timedelta:
    return timedelta(days=settings.ENV.served_retention_days)


def seen_retention() -> timedelta:
    return timedelta(days=settings.ENV.seen_retention_days)


# Inputs come before their requests: the deletion of a request cascades to its inputs, which would not be counted.
RETENTION_RULES = (
    RetentionRule(FeedInputs, "created_at", lambda: min(inputs.INPUTS_RETENTION, log_retention()), ("packed_inputs",)),
    RetentionRule(ServedPage, "created_at", log_retention, ("post_ids",)),
    RetentionRule(FeedRequest, "created_at", log_retention, ("post_ids", "parts", "origins", "reasons")),
    RetentionRule(DampedEngagement, "changed_at", log_retention),
    RetentionRule(Job, "finished_at", log_retention),
    RetentionRule(MaintenanceRun, "started_at", log_retention),
    RetentionRule(Alert, "resolved_at", log_retention),
    RetentionRule(FeedHour, "hour", lambda: FEED_HOUR_RETENTION),
    RetentionRule(Session, "expire_date", timedelta),
)


def delete_expired_records(*, now: datetime) -> MaintenanceResult:
    """Delete the expired rows of every table. If a run is interrupted, the next run continues."""
    deleted = {rule.model._meta.model_name: delete_expired_rows(rule, now) for rule in RETENTION_RULES}
    deleted["seen"] = (delete_old_seen(now - seen_retention()), 0)
    note = ", ".join(f"{name} {rows:,}" for name, (rows, _) in deleted.items() if rows)
    return MaintenanceResult(
        rows=sum(rows for rows, _ in deleted.values()),
        bytes=sum(size for _, size in deleted.values()),
        note=note or "none",
    )


def delete_expired_rows(rule: RetentionRule, now: datetime) -> tuple[int, int]:
    """Delete a table's expired rows, oldest first. Return their number and the bytes of their blob fields."""
    manager: models.Manager[Any] = rule.model._default_manager
    old = manager.filter(**{f"{rule.field}__lt": now - rule.period()}).order_by(rule.field)
    rows = size = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH_ROWS]):
        size += delete_batch(manager.filter(pk__in=ids).order_by(), rule.blob_fields)
        rows += len(ids)
    return rows, size


@write_transaction
def delete_batch(batch: models.QuerySet[Any, Any], blob_fields: Sequence[str]) -> int:
    """Delete the rows. Return the bytes of their blob fields."""
    size = sum(batch.aggregate(size=Sum(Length(blob)))["size"] or 0 for blob in blob_fields)
    batch.delete()
    return size


def delete_old_seen(before: datetime) -> int:
    """
    Delete seen posts from before a time, which may then be served again. Return the number of rows.

    A post that the member interacted with stays seen for as long as the interaction is stored: members are not
    recommended what they have liked or rated, however long ago.
    """
    ends = SeenPost.objects.aggregate(low=Min("pk"), high=Max("pk"))
    if ends["low"] is None:
        return 0
    interactions = Interaction.objects.filter(member=OuterRef("member"), post=OuterRef("post"), undone_at=None)
    old = SeenPost.objects.filter(~Exists(interactions), seen_at__lt=before).order_by()
    starts = range(ends["low"], ends["high"] + 1, IDS_PER_RANGE)
    return sum(old.filter(pk__gte=start, pk__lt=start + IDS_PER_RANGE).delete()[0] for start in starts)
