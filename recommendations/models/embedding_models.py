"""Which model serves which space of vectors, and which posts it could not embed."""

from __future__ import annotations

from django.db import models

from recommendations.models.posts import Post


class EmbeddingModel(models.Model):
    """
    A model that embeds posts in one space. One model a space is active: what is served compares its vectors only.

    A new one is building until every post has its vector, then takes the active one's place at once.
    """

    class State(models.TextChoices):
        BUILDING = "building", "building: posts get its vectors, nothing is served by them"
        ACTIVE = "active", "active: the one that serves"
        RETIRED = "retired", "retired: its vectors are kept, and serve again if it comes back"

    space = models.CharField(max_length=16, help_text="What is embedded: content, image …")
    name = models.CharField(max_length=128, help_text="The embedder, with its version.")
    embedder = models.CharField(
        max_length=32, help_text="What loads it, as in EMBEDDER; supplied: the platform sends the vectors."
    )
    option = models.CharField(max_length=128, blank=True, help_text="Which of the embedder's models, if it has many.")
    dimension = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.BUILDING)
    embedded_count = models.PositiveIntegerField(default=0, help_text="Posts that have its vector, when last counted.")
    post_count = models.PositiveIntegerField(default=0, help_text="Posts that should, when last counted.")
    indexed_until = models.DateTimeField(
        null=True, blank=True, help_text="Changes before it are in the vector index. Empty: it is built anew."
    )
    created_at = models.DateTimeField()
    activated_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["space", "state", "-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["space", "name"], name="one_row_per_space_and_model"),
            models.UniqueConstraint(
                fields=["space"], condition=models.Q(state="active"), name="one_active_model_per_space"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.space}: {self.name}"


class EmbeddingFailure(models.Model):
    """A post that a model could not embed. It is tried again later each time, and at last left until someone asks."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="embedding_failures", db_index=False)
    space = models.CharField(max_length=16)
    embedding_model = models.CharField(max_length=128)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(
        max_length=64, help_text="The error's type; its message may hold the text, and is not kept."
    )
    retry_at = models.DateTimeField(
        null=True, blank=True, help_text="Empty: parked until someone asks for another try."
    )
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["-changed_at"]
        constraints = [
            models.UniqueConstraint(fields=["post", "space", "embedding_model"], name="one_failure_per_post_and_model"),
        ]
        indexes = [models.Index(fields=["space", "embedding_model", "retry_at"], name="failures_by_model")]

    def __str__(self) -> str:
        return f"{self.space} of {self.post_id}: {self.error}"
