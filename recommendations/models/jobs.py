"""Background jobs. A job is first a row: if the broker loses the message, the row is published again."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext

from monitoring.number_texts import grouped
from recommendations.models.members import Member
from recommendations.models.related_names import related_name


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

    class Priority(models.IntegerChoices):
        """Workers process the chunks of a job with a lower number first."""

        HIGH = 0, "high"
        NORMAL = 1, "normal"
        LOW = 2, "low"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    params = models.JSONField(default=dict, blank=True)
    priority = models.PositiveSmallIntegerField(
        choices=Priority.choices, default=Priority.NORMAL, db_default=Priority.NORMAL
    )
    deadline = models.DateTimeField(
        null=True, blank=True, help_text="At this time the chunks that have not begun are cancelled."
    )
    is_expired = models.BooleanField(
        default=False, db_default=False, help_text="Whether the job was cancelled at its deadline."
    )
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
    errors = models.JSONField(
        default=list, blank=True, help_text="The first few errors, each an object. `JobFailure` has all of them."
    )
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
    """
    A slice of a job that one task processes. Processing a chunk twice has the same result as processing it once.

    A chunk waits until it gets a place in the window of its job (`slot`). Then a message is published for it, and a
    worker claims it. It keeps the place until it is settled.
    """

    State = Job.State

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    number = models.PositiveIntegerField()
    item_ids = models.JSONField(help_text="Database ids of the members or posts to process.")
    state = models.CharField(max_length=16, choices=Job.State.choices, default=Job.State.QUEUED)
    priority = models.PositiveSmallIntegerField(
        choices=Job.Priority.choices,
        default=Job.Priority.NORMAL,
        db_default=Job.Priority.NORMAL,
        help_text="The priority of its job.",
    )
    slot = models.PositiveIntegerField(
        null=True, blank=True, help_text="Place in the window of published chunks of its job. Empty: not published."
    )
    publications = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Messages that were published for the current attempt."
    )
    lost_after = models.DateTimeField(
        null=True, blank=True, help_text="If the message has left its queue at this time, it is published again."
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    claim_id = models.UUIDField(null=True, blank=True, help_text="Identifies the current or last claim.")
    leased_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until this time a running chunk belongs to one worker, which renews it. Then the chunk is released.",
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["job", "number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="one_chunk_per_number"),
            models.UniqueConstraint(
                fields=["job", "slot"],
                condition=models.Q(slot__isnull=False, state__in=("queued", "running")),
                name="one_chunk_per_slot",
            ),
        ]
        indexes = [
            models.Index(
                fields=["leased_until", "id"], condition=models.Q(state="running"), name="running_chunks_by_lease"
            ),
            models.Index(
                fields=["job", "number"],
                condition=models.Q(state__in=("queued", "running")),
                name="unfinished_chunks",
            ),
            models.Index(
                fields=["priority", "slot", "lost_after", "id"],
                condition=models.Q(state="queued", slot__isnull=False),
                name="chunks_to_claim",
            ),
            models.Index(
                fields=["lost_after", "id"],
                condition=models.Q(state="queued", slot__isnull=False),
                name="chunks_by_message",
            ),
        ]

    def __str__(self) -> str:
        return gettext("Chunk {number} of job {job}").format(number=grouped(self.number), job=related_name(self, "job"))


class JobFailure(models.Model):
    """An item that failed in all its attempts, with its error. It waits until somebody retries it (dead letter)."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="failures", db_index=False)
    item_id = models.BigIntegerField(help_text="Database id of the member or post.")
    problem = models.TextField()
    failed_at = models.DateTimeField()

    class Meta:
        ordering = ["job", "id"]
        constraints = [models.UniqueConstraint(fields=["job", "item_id"], name="one_failure_per_item")]
        indexes = [models.Index(fields=["job", "id"], name="failures_of_job")]

    def __str__(self) -> str:
        return gettext("Item {id} of job {job}").format(id=self.item_id, job=related_name(self, "job"))


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
        return gettext("File of job {job} for {member}").format(
            job=related_name(self, "job"), member=related_name(self, "member")
        )
