"""What members liked, and what is trained on it: the inputs and the models of collaborative ranking."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext

from recommendations.models.members import Member
from recommendations.models.related_names import related_name


class ReactionHistory(models.Model):
    """
    The newest reactions of a member: posts that they liked or rejected, each post once, at its latest reaction.

    Written when interactions are learned, so it holds only what a member lets the service learn from. Everything
    collaborative is computed from these rows and nothing else. Personal data: what a person did. Erased with the
    member; deleted while `is_personalized` is off.
    """

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="reactions")
    reactions = models.BinaryField(
        help_text="int64 (n,), oldest first: the id of a liked post, or minus the id of a rejected post."
    )
    reacted_at = models.BinaryField(help_text="float64 (n,): when, in Unix seconds.")

    class Meta:
        verbose_name_plural = "reaction histories"

    def __str__(self) -> str:
        return gettext("Reactions of {member}").format(member=related_name(self, "member"))


class HistoryChange(models.Model):
    """
    A change of a reaction history that the co-like counts do not include yet. Deleted when it is counted.

    A trigger writes it in the transaction of the change, for every writer. It does not name the member.
    """

    before = models.BinaryField(default=b"", help_text="The reactions before the change. Empty: there were none.")
    after = models.BinaryField(default=b"", help_text="The reactions after the change. Empty: there are none.")

    def __str__(self) -> str:
        return gettext("Change {id} of reactions").format(id=self.pk)


class CoLikes(models.Model):
    """
    What members liked together with a post, and after it: counts over all reaction histories.

    Counts are whole numbers, so they can be changed by each event and still equal a full recount exactly. No personal
    data: sums over members. Entries below `CO_LIKE_MIN_MEMBERS` members are counted, but never served.
    """

    post_id = models.BigIntegerField(primary_key=True, help_text="The database id of the post.")
    like_count = models.PositiveIntegerField(default=0, help_text="Members whose histories have a like of the post.")
    target_ids = models.BinaryField(default=b"", help_text="int64 (n,), sorted: posts that were liked with this post.")
    together = models.BinaryField(default=b"", help_text="int32 (n,): how many members liked both, close together.")
    after = models.BinaryField(default=b"", help_text="int32 (n,): how often, and how soon, after this post.")
    nearest = models.BinaryField(default=b"", help_text="The strongest entries in the form that ranking reads.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "co-likes"

    def __str__(self) -> str:
        return gettext("Co-likes of post {post}").format(post=f"#{self.post_id}")


class TrainedModel(models.Model):
    """
    One training run of a collaborative model, and what it produced.

    training → evaluated (measured on its own held-out likes, and not yet used) → active (feeds use it) → retired. A run
    that fails or is cancelled is failed. At most one model of a kind is active.
    """

    class Kind(models.TextChoices):
        ITEM_WEIGHTS = "item_weights"

    class State(models.TextChoices):
        TRAINING = "training"
        EVALUATED = "evaluated"
        ACTIVE = "active"
        RETIRED = "retired"
        FAILED = "failed"

    kind = models.CharField(max_length=32, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.TRAINING)
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The model that was active when this one was trained, and that it was compared with.",
    )
    settings = models.JSONField(default=dict, help_text="The settings of the training.")
    seed = models.BigIntegerField(default=0, help_text="Seed of the held-out members. Equal inputs give equal bytes.")
    data_from = models.DateTimeField(null=True, blank=True, help_text="The oldest like that it was trained on.")
    data_until = models.DateTimeField(null=True, blank=True, help_text="The newest like that it was trained on.")
    member_count = models.PositiveIntegerField(default=0)
    post_count = models.PositiveIntegerField(default=0)
    like_count = models.PositiveIntegerField(default=0)
    metrics = models.JSONField(default=dict, help_text="Measured on held-out likes, beside the parent and popularity.")
    scales = models.JSONField(default=dict, help_text="By score part: the typical score of a post on a first page.")
    reaction_count = models.PositiveBigIntegerField(
        default=0, help_text="Reactions in all histories when it was trained. A new training is due when this changed."
    )
    arrays = models.JSONField(
        default=dict, blank=True, help_text="By array: the size in bytes of its .npy file, and its BLAKE2b digest."
    )
    size_bytes = models.PositiveBigIntegerField(default=0)
    problem = models.TextField(blank=True, help_text="Why the run failed, or why the model was not activated.")
    created_at = models.DateTimeField()
    trained_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(state="active"), name="one_active_model_per_kind"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class TrainedModelBlock(models.Model):
    """A piece of an array of a trained model. Processes write the arrays to files, and map those into memory."""

    model = models.ForeignKey(TrainedModel, on_delete=models.CASCADE, related_name="blocks", db_index=False)
    name = models.CharField(max_length=32, help_text="Name of the array.")
    position = models.PositiveIntegerField(help_text="Number of the piece, from 0.")
    data = models.BinaryField(help_text="The bytes of an .npy file, from this piece's start on.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name", "position"], name="one_block_per_position")]

    def __str__(self) -> str:
        return gettext("{name} {position} of model {model}").format(
            name=self.name, position=self.position, model=related_name(self, "model")
        )
