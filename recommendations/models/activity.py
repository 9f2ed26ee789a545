"""What members did, what they saw, and what we served: three different facts."""

from __future__ import annotations

from django.db import models

from recommendations.contracts import FeedbackTarget, InteractionKind
from recommendations.models.members import Member
from recommendations.models.posts import Post


class Interaction(models.Model):
    """
    One act of a member on a post. The event id is the sender's: sending an event twice changes nothing.

    Personal data: what a person did. Erased with the member.
    """

    KINDS = [(k.value, k.value.replace("_", " ")) for k in InteractionKind]

    event_id = models.CharField(max_length=128, unique=True)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="interactions", db_index=False)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="interactions")
    kind = models.CharField(max_length=16, choices=KINDS)
    value = models.FloatField(null=True, blank=True, help_text="Seconds of a dwell, stars of a rating; else empty.")
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    target = models.CharField(
        max_length=8,
        blank=True,
        choices=[(s.value, s.value) for s in FeedbackTarget if s is not FeedbackTarget.POST],
        help_text="What of the post a not-interested is about; empty: what it says.",
    )
    request_id = models.UUIDField(null=True, blank=True, help_text="The feed request that the post was served by.")
    undone_at = models.DateTimeField(null=True, blank=True, help_text="When the member took it back.")
    is_learned = models.BooleanField(default=False, help_text="Whether interests and counts already hold it.")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["member", "-occurred_at"], name="interactions_of_member"),
            # What is still to be learned is found again after a crash: this index is as long as the backlog.
            models.Index(fields=["member"], condition=models.Q(is_learned=False), name="interactions_to_learn"),
        ]

    def __str__(self) -> str:
        return f"{self.member_id} {self.kind} {self.post_id}"


class Undo(models.Model):
    """An event that takes another one of the same member back; it may come before the one that it names."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    event_id = models.CharField(max_length=128, unique=True)
    undoes_event_id = models.CharField(max_length=128, db_index=True)
    received_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.event_id} undoes {self.undoes_event_id}"


class NegativeFeedback(models.Model):
    """
    Something that a member asked to see less of: a post (never again), an author, a topic, a format.

    Personal data: what a person turned down. Erased with the member.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="negative_feedback", db_index=False)
    target = models.CharField(max_length=8, choices=[(s.value, s.value) for s in FeedbackTarget])
    target_key = models.CharField(max_length=128, help_text="The post's or author's number, the tag, or the format.")
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+", help_text="The post it was said of.")
    event_id = models.CharField(max_length=128, db_index=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "less of"
        constraints = [
            models.UniqueConstraint(fields=["member", "target", "target_key", "event_id"], name="one_wish_per_event")
        ]

    def __str__(self) -> str:
        return f"{self.member_id} less of {self.target} {self.target_key}"


class SeenPost(models.Model):
    """The client says that the post was on this member's screen."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="seen", db_index=False)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "seen"
        constraints = [models.UniqueConstraint(fields=["member", "post"], name="seen_once")]
        # The newest few thousand are read on every request, from this index alone.
        indexes = [models.Index(fields=["member", "-seen_at", "post"], name="seen_newest_first")]

    def __str__(self) -> str:
        return f"{self.member_id} saw {self.post_id}"


class PostStats(models.Model):
    """
    A post's engagement, kept apart from the post so that counting does not touch what the catalogue follows closely.

    *engagement* is a decayed sum: it stands for the moment *engagement_at*, and halves with every half-life after it.
    """

    post = models.OneToOneField(Post, on_delete=models.CASCADE, primary_key=True, related_name="stats")
    engagement = models.FloatField(default=0.0)
    engagement_at = models.DateTimeField()
    interaction_count = models.PositiveIntegerField(default=0)
    positive_count = models.PositiveIntegerField(default=0, help_text="Acts that speak for the post: likes, shares …")
    served_count = models.PositiveIntegerField(default=0, help_text="Times that it was on a page we served.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "post stats"

    def __str__(self) -> str:
        return f"stats of {self.post_id}"


class RegionStats(models.Model):
    """A post's engagement by the members of one region: what trends there. Decays as `PostStats` does."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="region_stats", db_index=False)
    region = models.CharField(max_length=16)
    engagement = models.FloatField(default=0.0)
    engagement_at = models.DateTimeField()
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "region stats"
        constraints = [models.UniqueConstraint(fields=["post", "region"], name="one_engagement_per_region")]

    def __str__(self) -> str:
        return f"stats of {self.post_id} in {self.region}"


class ServedPage(models.Model):
    """
    The posts of one page that we sent: what was shown of a slate, and when.

    Personal data: what a person was shown. Only ids. Erased with the member.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="served_pages", db_index=False)
    request_id = models.UUIDField(help_text="The feed request whose slate it is a page of.")
    offset = models.PositiveIntegerField(help_text="Picks of the slate that came before it.")
    post_ids = models.BinaryField(help_text="int64 (n,), in the order shown.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["request_id", "offset", "created_at"], name="one_row_per_page_served")
        ]
        indexes = [models.Index(fields=["member", "-created_at"], name="pages_of_member")]

    def __str__(self) -> str:
        return f"page of {self.request_id} at {self.offset}"


class FeedRequest(models.Model):
    """
    What was served: by which engine, variant and policy, from how many candidates, with the parts of each score.

    Personal data: what a person was shown. Only ids and numbers. Erased with the member.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="feed_requests", db_index=False)
    feed = models.CharField(max_length=32)
    engine = models.CharField(max_length=32)
    variant = models.CharField(max_length=64)
    policy_version = models.PositiveIntegerField()
    fallback = models.CharField(max_length=32, blank=True, help_text="Which step of the fallback served, if any.")
    candidate_count = models.PositiveIntegerField(default=0)
    duration_ms = models.FloatField(default=0.0)
    post_ids = models.BinaryField(help_text="int64 (n,), in the order served.")
    part_names = models.JSONField(default=list)
    parts = models.BinaryField(help_text="float32 (n, parts): what each score is the sum of.")
    origins = models.BinaryField(help_text="uint16 (n,): bit set of the sources.")
    reasons = models.BinaryField(default=b"", help_text="uint16 (n,): bit set of the reasons.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["member", "-created_at"], name="requests_of_member")]

    def __str__(self) -> str:
        return str(self.id)


class FeedInputs(models.Model):
    """
    What a slate was ranked from, for a share of the requests, for some days: enough to rank it again.

    Personal data: a person's interests at that moment. Erased with the member.
    """

    request = models.OneToOneField(FeedRequest, on_delete=models.CASCADE, primary_key=True, related_name="inputs")
    packed_inputs = models.BinaryField(help_text="Packed by services/explaining/replay.py, deflated.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "feed inputs"

    def __str__(self) -> str:
        return f"inputs of {self.request_id}"
