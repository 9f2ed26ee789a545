"""
Retention: deletes expired records. Records are personal data and are stored only as long as they are useful.

Each table has a rule here, or a reason in `BOUNDED` why its rows do not grow without end. A test demands one of both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Exists, OuterRef, Q, Sum
from django.db.models.functions import Length

from access.models import UsageAlert
from flags.models import Experiment, Exposure
from monitoring.maintenance import MaintenanceResult
from monitoring.models import Alert, MaintenanceRun
from monitoring.transactions import write_transaction
from recommendations.contracts import FeedbackTarget
from recommendations.models import (
    AuthorCrowd,
    CrowdNewcomer,
    DampedEngagement,
    Evaluation,
    FeedHour,
    FeedInputs,
    FeedRequest,
    Interaction,
    Job,
    JobFile,
    NegativeFeedback,
    SeenPost,
    ServedPage,
    Undo,
)
from recommendations.services.serving import inputs
from recommendations.stores.rising_ids import first_id_since

BATCH_ROWS = 1_000
"""Rows deleted per transaction, while other writers wait. Changes the speed."""
IDS_PER_RANGE = 20_000
"""Size of the id ranges in which a table without an index by age is scanned."""
CROWD_RETENTION = timedelta(days=8)
"""For newcomers to an author who are in no ring: longer than rings are looked for (`learning/crowds.py`)."""
EXPORT_RETENTION = timedelta(days=7)
"""How long an export can be downloaded."""
STATISTICS_RETENTION = timedelta(days=400)
"""For numbers that compare a day with the same day of the year before."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Rows of *model* are deleted once *age_field* is older than *period* returns."""

    model: type[models.Model]
    age_field: str
    period: Callable[[], timedelta]
    blob_fields: tuple[str, ...] = ()
    """Columns whose bytes are counted in the record of the run."""
    condition: Q = field(default_factory=Q)
    """Only rows that match it are deleted."""


def log_retention() -> timedelta:
    return timedelta(days=settings.ENV.served_retention_days)


def seen_retention() -> timedelta:
    return timedelta(days=settings.ENV.seen_retention_days)


def interaction_retention() -> timedelta:
    return timedelta(days=settings.ENV.interaction_retention_days)


# Inputs come before their requests: the deletion of a request cascades to its inputs, which would not be counted.
RETENTION_RULES = (
    RetentionRule(FeedInputs, "created_at", lambda: min(inputs.INPUTS_RETENTION, log_retention()), ("packed_inputs",)),
    RetentionRule(ServedPage, "created_at", log_retention, ("post_ids",)),
    RetentionRule(FeedRequest, "created_at", log_retention, ("post_ids", "parts", "origins", "reasons")),
    RetentionRule(DampedEngagement, "changed_at", log_retention),
    RetentionRule(AuthorCrowd, "changed_at", log_retention),
    # A share below 1 is needed as long as the interactions can be undone, any other only while rings are looked for.
    RetentionRule(CrowdNewcomer, "changed_at", lambda: CROWD_RETENTION, condition=Q(share=1)),
    RetentionRule(CrowdNewcomer, "changed_at", interaction_retention),
    RetentionRule(JobFile, "created_at", lambda: EXPORT_RETENTION, ("content",)),
    RetentionRule(Job, "finished_at", log_retention),
    RetentionRule(MaintenanceRun, "started_at", log_retention),
    RetentionRule(Alert, "resolved_at", log_retention),
    RetentionRule(UsageAlert, "raised_at", lambda: STATISTICS_RETENTION),
    RetentionRule(FeedHour, "hour", lambda: STATISTICS_RETENTION),
    RetentionRule(Evaluation, "created_at", lambda: STATISTICS_RETENTION),
    RetentionRule(Session, "expire_date", timedelta),
    RetentionRule(Undo, "received_at", interaction_retention),
    # A post that a member has rejected is never served to them again. Feedback on authors, topics and kinds fades.
    RetentionRule(
        NegativeFeedback, "created_at", interaction_retention, condition=~Q(target=FeedbackTarget.POST.value)
    ),
)

DELETED_BY_FUNCTIONS = (SeenPost, Interaction, Exposure)
"""Tables that `delete_expired_records` deletes from without a rule."""

BOUNDED = {
    "recommendations.Member": "one row for each member of the platform",
    "recommendations.PrivacySettings": "one row for each member",
    "recommendations.Relationship": "the platform deletes those that end",
    "recommendations.InterestProfile": "one row for each member",
    "recommendations.ReactionHistory": "one row for each member, of at most 500 reactions",
    "recommendations.Post": "one row for each post of the platform, which may erase it",
    "recommendations.PostEmbedding": "one row for each post and embedding model; those of old models are archived",
    "recommendations.EmbeddingFailure": "at most one row for each post and space",
    "recommendations.PostStats": "one row for each post",
    "recommendations.RegionStats": "one row for each post and region",
    "recommendations.CoLikes": "one row for each post that members like",
    "recommendations.ErasedPost": "deleted seven days after the erasure",
    "recommendations.ErasureReceipt": "the proof of an erasure, kept for good: one row for each erased member",
    "recommendations.HistoryChange": "deleted once it is counted, within a minute",
    "recommendations.SeenReport": "deleted once it is counted, within a minute",
    "recommendations.ChangeLogEntry": "`trim_change_log` deletes old rows",
    "recommendations.ChangeLogMark": "one row",
    "recommendations.ChangeLogTruncation": "one row for each table",
    "recommendations.TrainedModel": "a few numbers for each training",
    "recommendations.TrainedModelBlock": "`delete_old_models` deletes those of old models",
    "recommendations.EmbeddingModel": "one row for each embedding model that was ever used",
    "recommendations.ImportCheckpoint": "one row for each file that was imported",
    "recommendations.JobChunk": "deleted with its job",
    "recommendations.JobFailure": "deleted with its job",
    "recommendations.RankingPolicy": "one row for each version that staff or the platform wrote",
    "flags.FlagChange": "append-only: the record of what staff changed",
    "flags.PendingChange": "one row for each change that waits for an approval",
    "flags.InterimAnalysis": "append-only: one row for each running experiment and night",
    "flags.ExperimentResult": "append-only: the rows of an interim analysis",
    "monitoring.MaintenanceTask": "one row for each task",
    "monitoring.Notice": "deleted with its alert",
    "admin.LogEntry": "one row for each change and export of staff in the admin",
    "axes.AccessAttempt": "deleted 15 minutes after the last failed sign-in, at the next sign-in",
    "axes.AccessAttemptExpiration": "deleted with its attempt",
    "axes.AccessLog": "never written",
    "axes.AccessFailureLog": "never written",
}
"""Why the rows of a table do not grow without end although no rule deletes them, by label."""

CREATED_BY_STAFF = frozenset(
    [
        "auth.Permission",
        "auth.Group",
        "auth.User",
        "contenttypes.ContentType",
        "account.EmailAddress",
        "account.EmailConfirmation",
        "mfa.Authenticator",
        "access.ApiKey",
        "monitoring.AlertRule",
        "monitoring.Silence",
        "flags.Segment",
        "flags.Condition",
        "flags.Flag",
        "flags.FlagVariant",
        "flags.Rule",
        "flags.Prerequisite",
        "flags.PayloadVersion",
        "flags.ExclusionGroup",
        "flags.Holdout",
        "flags.Metric",
        "flags.Experiment",
        "flags.ExperimentVariant",
        "flags.ExperimentPhase",
        "flags.RolloutPlan",
        "flags.RolloutPhase",
        "flags.Guardrail",
    ]
)
"""Tables whose rows staff create one by one, or that a release contains."""


def delete_expired_records(*, now: datetime) -> MaintenanceResult:
    """Delete the expired rows of every table. If a run is interrupted, the next run continues."""
    deleted: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for rule in RETENTION_RULES:
        name = str(rule.model._meta.model_name)
        earlier_rows, earlier_size = deleted[name]
        rows, size = delete_expired_rows(rule, now)
        deleted[name] = (earlier_rows + rows, earlier_size + size)
    # Interactions come before the seen posts: without its interaction, a post does not stay seen.
    deleted["interaction"] = (delete_old_interactions(now - interaction_retention()), 0)
    deleted["seen"] = (delete_old_seen(now - seen_retention()), 0)
    deleted["exposure"] = (delete_old_exposures(now - log_retention()), 0)
    note = ", ".join(f"{name} {rows:,}" for name, (rows, _) in deleted.items() if rows)
    return MaintenanceResult(
        rows=sum(rows for rows, _ in deleted.values()),
        bytes=sum(size for _, size in deleted.values()),
        note=note or "none",
    )


def delete_expired_rows(rule: RetentionRule, now: datetime) -> tuple[int, int]:
    """Delete a table's expired rows, oldest first. Return their number and the bytes of their blob fields."""
    manager: models.Manager[Any] = rule.model._default_manager
    is_old = Q(**{f"{rule.age_field}__lt": now - rule.period()})
    return delete_in_batches(manager.filter(is_old, rule.condition).order_by(rule.age_field), rule.blob_fields)


def delete_in_batches(old: models.QuerySet[Any, Any], blob_fields: Sequence[str] = ()) -> tuple[int, int]:
    """Delete the rows, in their order. Return their number and the bytes of their blob fields."""
    rows = size = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH_ROWS]):
        size += delete_batch(old.model._default_manager.filter(pk__in=ids).order_by(), blob_fields)
        rows += len(ids)
    return rows, size


@write_transaction
def delete_batch(batch: models.QuerySet[Any, Any], blob_fields: Sequence[str]) -> int:
    """Delete the rows. Return the bytes of their blob fields."""
    size = sum(batch.aggregate(size=Sum(Length(blob)))["size"] or 0 for blob in blob_fields)
    batch.delete()
    return size


def delete_old_interactions(before: datetime) -> int:
    """
    Delete interactions that were received before a time. Return the number of rows.

    What was learned from them stays, and fades as before. The API rejects an event of this age
    (INTERACTION_MAX_AGE_DAYS): it could not tell any more whether it has counted.
    """
    end = first_id_since(Interaction.objects.all(), "received_at", before)
    return delete_in_batches(Interaction.objects.filter(pk__lte=end, received_at__lt=before).order_by("pk"))[0]


def delete_old_exposures(before: datetime) -> int:
    """Delete the exposures of experiments that finished before a time, not their results. Return the number of rows."""
    finished = Experiment.objects.filter(finished_at__lt=before).order_by("pk")
    return sum(
        delete_in_batches(Exposure.objects.filter(experiment=experiment).order_by("unit_id"))[0]
        for experiment in finished
    )


def delete_old_seen(before: datetime) -> int:
    """
    Delete seen posts from before a time, which may then be served again. Return the number of rows.

    A post that the member interacted with stays seen for as long as the interaction is stored: members are not
    recommended what they have liked or rated, however long ago.
    """
    # Two queries: SQLite reads the whole table for the smallest and the greatest id in one.
    ids = SeenPost.objects.values_list("pk", flat=True)
    first, last = ids.order_by("pk").first(), ids.order_by("-pk").first()
    if first is None or last is None:
        return 0
    interactions = Interaction.objects.filter(member=OuterRef("member"), post=OuterRef("post"), undone_at=None)
    old = SeenPost.objects.filter(~Exists(interactions), seen_at__lt=before).order_by()
    starts = range(first, last + 1, IDS_PER_RANGE)
    return sum(old.filter(pk__gte=start, pk__lt=start + IDS_PER_RANGE).delete()[0] for start in starts)
