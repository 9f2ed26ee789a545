"""The embedding models of each vector space, and the posts that they could not embed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext

from recommendations.models.posts import Post
from recommendations.models.related_names import related_name


class EmbeddingModel(models.Model):
    """
    A model that embeds posts in one space. Each space has one active model, and serving compares only its vectors.

    A new model is building until every post has a vector from it. It then replaces the active model in one step.
    """

    class State(models.TextChoices):
        BUILDING = "building", "building: posts get vectors from it, serving does not use them"
        ACTIVE = "active", "active: serving uses its vectors"
        RETIRED = "retired", "retired: its vectors are stored and can be activated again"

    space = models.CharField(max_length=16, help_text="Name of the vector space: content, image …")
    name = models.CharField(max_length=128, help_text="The embedding model, with its version.")
    embedder = models.CharField(
        max_length=32,
        help_text="The embedder that loads the model, as in EMBEDDER. supplied: the platform sends the vectors.",
    )
    option = models.CharField(
        max_length=128, blank=True, help_text="The name of the model, for an embedder that has several."
    )
    dimension = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.BUILDING)
    embedded_count = models.PositiveIntegerField(
        default=0, help_text="Posts with a vector from this model, when last counted."
    )
    post_count = models.PositiveIntegerField(default=0, help_text="Posts that need a vector, when last counted.")
    indexed_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Changes before this time are in the vector index. Empty: the index is rebuilt from the start.",
    )
    created_at = models.DateTimeField()
    activated_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["space", "state", "-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["space", "name"], name="one_embedding_model_per_name"),
            models.UniqueConstraint(
                fields=["space"], condition=models.Q(state="active"), name="one_active_embedding_model"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.space}: {self.name}"


class EmbeddingFailure(models.Model):
    """
    A post that a model could not embed.

    It is retried after growing delays, and then dead-lettered until an operator retries it.
    """

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="embedding_failures", db_index=False)
    space = models.CharField(max_length=16)
    embedding_model = models.CharField(max_length=128)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(
        max_length=64, help_text="The type of the error. The message may quote the text and is not stored."
    )
    retry_at = models.DateTimeField(
        null=True, blank=True, help_text="When it is retried. Empty: dead-lettered until an operator retries it."
    )
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["-changed_at"]
        constraints = [
            models.UniqueConstraint(fields=["post", "space", "embedding_model"], name="one_failure_per_post_and_model"),
        ]
        indexes = [models.Index(fields=["space", "embedding_model", "retry_at"], name="embedding_failures_by_model")]

    def __str__(self) -> str:
        return gettext("Post {post} in the space {space}: {error}").format(
            post=related_name(self, "post"), space=self.space, error=self.error
        )
