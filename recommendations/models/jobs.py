"""Background jobs. A job is first a row: if the broker loses the message, the row is published again."""

from __future__ import annotations

import uuid

from django.db import models

from recommendations.models.members import Member


class Job(models.Model):
    """A request for background work, with its state, progress and result."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    FINISHED_STATES = (State.DONE, State.FAILED, State.CANCELLED)

    class Kind(models.TextChoices):
        BATCH_FEEDS = "batch_feeds", "discovery feeds for all members"
        MEMBER_FEED = "member_feed", "feed for one member"
        EMBED_POSTS = "embed_posts", "embed posts"
        REBUILD_INTERESTS = "rebuild_interests", "rebuild interests from the whole history"
        REINDEX = "reindex", "rebuild the vector index"
        EXPORT_MEMBERS = "export_members", "export all data about members"
        ERASE_MEMBERS = "erase_members", "erase members with their posts and activity"
        ERASE_POSTS = "erase_posts", "erase posts"
        TRAIN_MODEL = "train_model", "train a collaborative model"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    params = models.JSONField(default=dict, blank=True)
    idempotency_hash = models.CharField(
        max_length=24,
        null=True,
        blank=True,
        unique=True,
        help_text="Keyed hash of the submitter and the idempotency key, which may contain a member's id.",
    )
    total = models.PositiveIntegerField(default=0, help_text="Items to process.")
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    errors = models.JSONField(default=list, blank=True, help_text="The first few errors, each an object.")
    result = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["state", "created_at"], name="jobs_by_state")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class JobChunk(models.Model):
    """A slice of a job that one task processes. Processing a chunk twice has the same result as processing it once."""

    State = Job.State

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    number = models.PositiveIntegerField()
    item_ids = models.JSONField(help_text="Database ids of the members or posts to process.")
    state = models.CharField(max_length=16, choices=Job.State.choices, default=Job.State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until this time the chunk belongs to one worker. After it, any worker may claim the chunk.",
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="one_chunk_per_number")]
        indexes = [models.Index(fields=["state", "leased_until"], name="chunks_by_lease")]

    def __str__(self) -> str:
        return f"{self.job_id} #{self.number}"


class JobFile(models.Model):
    """
    The result file of a job, for download: one part for each member.

    Personal data: everything that is stored about a member. Erased with the member, and after some days in any case.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="files", db_index=False)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    content = models.BinaryField(help_text="JSON, compressed with zlib.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "member"], name="one_file_per_member")]

    def __str__(self) -> str:
        return f"{self.job_id} for {self.member_id}"
