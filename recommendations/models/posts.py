"""Posts and their embeddings."""

from __future__ import annotations

from django.core.validators import validate_slug
from django.db import models

from recommendations.contracts import Sensitivity, Visibility
from recommendations.models.members import Member


class Post(models.Model):
    """
    Something a member may be shown.

    Personal data: text and media, which belong to the author. They are never logged and never leave in a metric.
    """

    VISIBILITIES = [(v.value, v.name.title()) for v in Visibility]
    SENSITIVITIES = [(s.value, s.name.title()) for s in Sensitivity]

    external_id = models.CharField(max_length=128, unique=True, help_text="The platform's own id of this post.")
    author = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="posts", db_index=False)
    text = models.TextField(blank=True)
    media = models.JSONField(default=list, blank=True, help_text='Such as [{"kind": "image", "url": "…", "alt": "…"}].')
    kind = models.CharField(
        max_length=32,
        default="text",
        validators=[validate_slug],
        help_text="Format: text, image, video, film …",
    )
    language = models.CharField(max_length=8, blank=True, help_text="Such as en. Empty: unknown.")
    tags = models.JSONField(default=list, blank=True, help_text="Topics, the main one first.")
    created_at = models.DateTimeField()
    visibility = models.PositiveSmallIntegerField(choices=VISIBILITIES, default=Visibility.PUBLIC.value)
    safety_labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='Label to score from 0 to 1, such as {"violence": 0.4}. Empty: clean.',
    )
    sensitivity = models.PositiveSmallIntegerField(
        choices=SENSITIVITIES,
        default=Sensitivity.SAFE.value,
        help_text="Derived from the labels when a post is published.",
    )
    removed_at = models.DateTimeField(null=True, blank=True, help_text="Set when the post was taken down.")
    changed_at = models.DateTimeField(db_index=True, help_text="Every process follows the catalogue by this.")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["author", "-created_at"], name="posts_by_author"),
            models.Index(fields=["-created_at"], name="posts_by_age"),
        ]

    def __str__(self) -> str:
        return self.external_id


class PostEmbedding(models.Model):
    """A post's vector in one space by one model: the source of truth of every vector index."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="embeddings", db_index=False)
    space = models.CharField(max_length=16, default="content", help_text="What is embedded: content, image …")
    embedding_model = models.CharField(max_length=128, help_text="The embedder, with its version.")
    dimension = models.PositiveIntegerField()
    vector = models.BinaryField(help_text="float32, little endian, unit length (or zero: nothing to embed).")
    version = models.PositiveIntegerField(default=1, help_text="Counts up each time the vector is made anew.")
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["post", "space", "embedding_model"], name="one_embedding_per_space_and_model"
            ),
            models.CheckConstraint(
                condition=models.Q(dimension__gte=8, dimension__lte=4096), name="dimension_8_to_4096"
            ),
        ]
        indexes = [models.Index(fields=["space", "embedding_model", "changed_at"], name="embeddings_by_change")]

    def __str__(self) -> str:
        return f"{self.space} of {self.post_id}"


class ErasedPost(models.Model):
    """
    The number of a post that is gone, row and all, so that every process drops what it keeps of it in memory.

    It says nothing of whose it was. Kept for some days: a process that starts later never knew the post.
    """

    post_id = models.BigIntegerField(primary_key=True)
    erased_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.post_id)
