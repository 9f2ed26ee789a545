"""What members did, what they saw, and what they were served: three different facts."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext

from monitoring.number_texts import grouped, significant
from recommendations.contracts import FeedbackTarget, InteractionKind, Sender
from recommendations.models.members import Member
from recommendations.models.posts import Post
from recommendations.models.related_names import related_name
from values.limits import MAX_ID, MAX_SLUG


def sender_field() -> models.CharField[str, str]:
    """Return a field for the sender of an event."""
    return models.CharField(
        max_length=8,
        choices=[(sender.value, sender.value) for sender in Sender],
        default=Sender.PLATFORM.value,
        help_text="Who sent the event: the platform, or a token of the member.",
    )


class Interaction(models.Model):
    """
    What one member did with one post. The event id is the sender's: an event that is sent twice is stored once.

    An id is unique per member and sender. Otherwise a member could take an id that the platform uses later for another
    member, or for the same member, and the platform's event would be lost as a duplicate.

    Personal data: what a person did. Erased with the member.
    """

    KINDS = [(k.value, k.value.replace("_", " ")) for k in InteractionKind]

    event_id = models.CharField(max_length=MAX_ID)
    sender = sender_field()
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="interactions", db_index=False)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="interactions", db_index=False)
    kind = models.CharField(max_length=16, choices=KINDS)
    value = models.FloatField(
        null=True, blank=True, help_text="Seconds for a dwell, stars for a rating; otherwise empty."
    )
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    target = models.CharField(
        max_length=8,
        blank=True,
        choices=[(s.value, s.value) for s in FeedbackTarget if s is not FeedbackTarget.POST],
        help_text="What a not_interested is about. Empty: the content of the post.",
    )
    request_id = models.UUIDField(null=True, blank=True, help_text="The feed request that served the post.")
    undone_at = models.DateTimeField(null=True, blank=True, help_text="When the member undid the interaction.")
    is_learned = models.BooleanField(
        default=False, help_text="Whether the interests and counts include the interaction."
    )

    is_ignored = models.BooleanField(
        default=False,
        help_text="Whether the interaction weighs nothing: an implicit one of a member not known to be an adult.",
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["event_id", "member", "sender"], name="one_interaction_per_event_id")
        ]
        indexes = [
            models.Index(fields=["member", "-occurred_at"], name="interactions_by_member"),
            # Learning reads what a member did with a post before: one entry, however many others there are of either.
            models.Index(fields=["post", "member"], name="interactions_by_post"),
            # A worker looks for the backlog every few seconds. These indexes have an entry only for what is to be done.
            models.Index(
                fields=["member"], condition=models.Q(is_learned=False, undone_at=None), name="interactions_to_learn"
            ),
            models.Index(
                fields=["member"],
                condition=models.Q(is_learned=True, undone_at__isnull=False),
                name="interactions_to_unlearn",
            ),
        ]

    def __str__(self) -> str:
        return gettext("Interaction {id}: {kind} of post {post} by {member}").format(
            id=self.pk,
            kind=self.get_kind_display(),
            post=related_name(self, "post"),
            member=related_name(self, "member"),
        )


class Undo(models.Model):
    """An event that undoes another event of the same member and sender. It may arrive before that event."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    event_id = models.CharField(max_length=MAX_ID)
    sender = sender_field()
    undoes_event_id = models.CharField(max_length=MAX_ID)
    received_at = models.DateTimeField(db_index=True)

    class Meta:
        # Not `db_index`: on PostgreSQL it would also create an index for LIKE, which no query uses.
        indexes = [models.Index(fields=["undoes_event_id"], name="undos_by_event")]
        constraints = [models.UniqueConstraint(fields=["event_id", "member", "sender"], name="one_undo_per_event_id")]

    def __str__(self) -> str:
        return gettext("Undo {id} of event {event} by {member}").format(
            id=self.pk, event=self.undoes_event_id, member=related_name(self, "member")
        )


class NegativeFeedback(models.Model):
    """
    One request of a member to see less of something: a post (never again), an author, a topic or a kind of post.

    Personal data: what a person rejected. Erased with the member.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="negative_feedback", db_index=False)
    target = models.CharField(max_length=8, choices=[(s.value, s.value) for s in FeedbackTarget])
    target_key = models.CharField(
        max_length=128, help_text="The database id of the post or author, the tag, or the kind of post."
    )
    post = models.ForeignKey(
        Post, on_delete=models.CASCADE, related_name="+", help_text="The post that the feedback was given on."
    )
    event_id = models.CharField(max_length=MAX_ID)
    sender = sender_field()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "negative feedback"
        indexes = [models.Index(fields=["event_id"], name="negative_feedback_by_event")]
        constraints = [
            models.UniqueConstraint(
                fields=["member", "target", "target_key", "event_id", "sender"], name="one_negative_feedback_per_event"
            )
        ]

    def __str__(self) -> str:
        return gettext("{member} wants less of {target} {key}").format(
            member=related_name(self, "member"), target=self.get_target_display(), key=self.target_key
        )


class SeenPost(models.Model):
    """A post that was on a member's screen, as the client reported."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="seen_posts", db_index=False)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "seen posts"
        constraints = [models.UniqueConstraint(fields=["member", "post"], name="one_seen_post_per_member")]
        # Every request reads the newest few thousand rows of a member from this index alone.
        indexes = [models.Index(fields=["member", "-seen_at", "post"], name="seen_posts_newest_first")]

    def __str__(self) -> str:
        return gettext("{member} saw post {post}").format(
            member=related_name(self, "member"), post=related_name(self, "post")
        )


class SeenReport(models.Model):
    """
    A report that a member saw a post for the first time, until it is in the post's seen count.

    It does not name the member. Without foreign key: it waits for a minute, also if the post is erased meanwhile.
    """

    post_id = models.BigIntegerField(help_text="The database id of the post.")

    def __str__(self) -> str:
        return gettext("Report {id} of post {post}").format(id=self.pk, post=f"#{self.post_id}")


class PopularityStats(models.Model):
    """The weights of the interactions with a post, in sums that decay (`stores/popularity_sums.py`)."""

    hour_sum = models.FloatField(default=0.0, help_text="Halves after an hour, or as the control policy says.")
    day_sum = models.FloatField(default=0.0, help_text="Halves after a day, or as the control policy says.")
    week_sum = models.FloatField(default=0.0, help_text="Halves after a week, or as the control policy says.")
    year_sum = models.FloatField(default=0.0, help_text="Halves after 365 days, or as the control policy says.")
    total_sum = models.FloatField(default=0.0, help_text="Never decays.")
    summed_at = models.DateTimeField(help_text="The moment to which the sums are decayed.")

    class Meta:
        abstract = True


class PostStats(PopularityStats):
    """The popularity of a post. Stored apart from it, so that counting does not mark the post itself as changed."""

    post = models.OneToOneField(Post, on_delete=models.CASCADE, primary_key=True, related_name="stats")
    interaction_count = models.PositiveIntegerField(default=0)
    positive_count = models.PositiveIntegerField(
        default=0, help_text="Interactions in favor of the post: likes, shares …"
    )
    served_count = models.PositiveIntegerField(default=0, help_text="How often the post was on a served page.")
    seen_count = models.FloatField(
        default=0.0,
        db_default=0.0,
        help_text="How often members looked at the post: as reported, or as its positions on served pages suggest.",
    )
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "post stats"

    def __str__(self) -> str:
        return gettext("Statistics of post {post}").format(post=related_name(self, "post"))


class RegionStats(PopularityStats):
    """The popularity of a post among the members of one region, for the source of trending posts."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="region_stats", db_index=False)
    region = models.CharField(max_length=MAX_SLUG)
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "region stats"
        constraints = [models.UniqueConstraint(fields=["post", "region"], name="one_row_per_post_and_region")]

    def __str__(self) -> str:
        return gettext("Statistics of post {post} in {region}").format(
            post=related_name(self, "post"), region=self.region
        )


class DampedEngagement(models.Model):
    """
    What one member added to the popularity of one post, of an author's posts on one day, or of all posts on one day, if
    less than half of it counts (`services/learning/popularity.py`). For staff: nothing is ranked by it.

    Personal data: what a person did. Erased with the member.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    author = models.ForeignKey(
        Member, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Whose posts they are."
    )
    post = models.ForeignKey(Post, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    day = models.DateField(help_text="The day of the interactions, in UTC. For one post: of the last of them.")
    given = models.FloatField(help_text="The sum of the weights of the interactions.")
    counted = models.FloatField(help_text="How much of it counts.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-day", "-given", "pk"]
        verbose_name_plural = "damped engagement"

    def __str__(self) -> str:
        return gettext("{member} gave {given} on {day}, of which {counted} counts").format(
            member=related_name(self, "member"),
            given=significant(self.given),
            day=self.day,
            counted=significant(self.counted),
        )

    @property
    def reason(self) -> str:
        """Which bound applied."""
        if self.post_id:
            return "one post"
        return "one author on one day" if self.author_id else "all posts on one day"


class AuthorCrowd(models.Model):
    """
    How many members reacted to an author's posts on one day: newcomers to the author, and others. `services/learning`
    has what both are (`crowds.py`), and the share of a newcomer's weight that counts (`rings.py`).
    """

    author = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="The day of the interactions, in UTC.")
    newcomers = models.IntegerField(help_text="Members who have interacted with few other authors.")
    others = models.IntegerField(help_text="All other members who reacted.")
    share = models.FloatField(default=1.0, help_text="What counts of a newcomer's weight. Below 1: a ring.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-day", "-newcomers", "pk"]
        verbose_name = "ring"
        constraints = [models.UniqueConstraint(fields=["author", "day"], name="one_crowd_per_author_and_day")]
        indexes = [models.Index(fields=["day"], name="crowds_by_day")]

    def __str__(self) -> str:
        return gettext("{newcomers} newcomers and {others} others to {author} on {day}").format(
            newcomers=grouped(self.newcomers),
            others=grouped(self.others),
            author=related_name(self, "author"),
            day=self.day,
        )


class CrowdNewcomer(models.Model):
    """
    A newcomer to an author who reacted to the author's posts on one day, and what counts of it.

    Personal data: what a person did. Erased with the member.
    """

    author = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="The day of the interactions, in UTC.")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+", db_index=False)
    share = models.FloatField(default=1.0, help_text="What counts of the member's weight on these posts.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-day", "pk"]
        verbose_name = "member of a ring"
        verbose_name_plural = "members of rings"
        constraints = [
            models.UniqueConstraint(fields=["member", "day", "author"], name="one_newcomer_per_author_and_day")
        ]
        indexes = [models.Index(fields=["author", "day"], name="newcomers_by_author")]

    def __str__(self) -> str:
        return gettext("{member} in the crowd of {author} on {day}").format(
            member=related_name(self, "member"), author=related_name(self, "author"), day=self.day
        )


class ServedPage(models.Model):
    """
    The posts of one page that was sent: which part of a slate was served, and when.

    Personal data: what a person was served. Only ids. Erased with the member.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="served_pages", db_index=False)
    request_id = models.UUIDField(help_text="The feed request whose slate the page is from.")
    offset = models.PositiveIntegerField(help_text="How many picks of the slate come before the page.")
    post_ids = models.BinaryField(help_text="int64 (n,), in the order served.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["request_id", "offset", "created_at"], name="one_row_per_page_served")
        ]
        indexes = [models.Index(fields=["member", "-created_at"], name="served_pages_by_member")]

    def __str__(self) -> str:
        return gettext("Page from position {offset} of request {request} for {member}").format(
            offset=grouped(self.offset), request=self.request_id, member=related_name(self, "member")
        )


class FeedRequest(models.Model):
    """
    One slate: its engine, variant, policy version, number of candidates, and the score parts of each pick.

    Personal data: what a person was served. Only ids and numbers. Erased with the member.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="feed_requests", db_index=False)
    feed = models.CharField(max_length=32)
    engine = models.CharField(max_length=32)
    variant = models.CharField(max_length=64)
    policy_version = models.PositiveIntegerField()
    fallback = models.CharField(
        max_length=32, blank=True, help_text="The fallback step that built the slate. Empty: none was needed."
    )
    candidate_count = models.PositiveIntegerField(default=0)
    duration_ms = models.FloatField(default=0.0)
    post_ids = models.BinaryField(help_text="int64 (n,), in the order served.")
    part_names = models.JSONField(default=list)
    parts = models.BinaryField(help_text="float32 (n, parts): the score parts. Each score is the sum of its row.")
    contributions = models.BinaryField(
        default=b"", help_text="What the member's reactions contributed to each pick, compressed with zlib."
    )
    trained_model_id = models.PositiveBigIntegerField(
        default=0, help_text="The trained model that the slate was ranked with. 0: none."
    )
    origins = models.BinaryField(help_text="uint16 (n,): bit set of the sources.")
    reasons = models.BinaryField(default=b"", help_text="uint16 (n,): bit set of the reasons.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["member", "-created_at"], name="feed_requests_by_member")]

    def __str__(self) -> str:
        return gettext("Request {id}: {feed} feed of {member}").format(
            id=self.id, feed=self.feed, member=related_name(self, "member")
        )


class FeedInputs(models.Model):
    """
    The inputs that a slate was ranked from: enough to rank it again. Stored for a share of the requests, for some days.

    Personal data: a person's interests at that moment. Erased with the member.
    """

    request = models.OneToOneField(FeedRequest, on_delete=models.CASCADE, primary_key=True, related_name="inputs")
    packed_inputs = models.BinaryField(help_text="Packed by services/serving/inputs.py and compressed with zlib.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "feed inputs"

    def __str__(self) -> str:
        return gettext("Inputs of request {request}").format(request=self.request_id)
