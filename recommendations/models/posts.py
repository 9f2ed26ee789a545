"""Posts and their embeddings."""

from __future__ import annotations

from django.core.validators import validate_slug
from django.db import models
from django.utils.translation import gettext

from recommendations.contracts import Sensitivity, Visibility
from recommendations.models.members import Member
from recommendations.models.related_names import related_name
from values.limits import MAX_ID, MAX_LANGUAGE, MAX_MODEL, MAX_SLUG


class Post(models.Model):
    """
    A post of the platform, which feeds may recommend.

    Personal data: text and media, which belong to the author. They are never written to logs or metrics.
    """

    VISIBILITIES = [(v.value, v.name.title()) for v in Visibility]
    SENSITIVITIES = [(s.value, s.name.title()) for s in Sensitivity]

    external_id = models.CharField(max_length=MAX_ID, unique=True, help_text="The id of this post on the platform.")
    author = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="posts", db_index=False)
    text = models.TextField(blank=True)
    media = models.JSONField(default=list, blank=True, help_text='Such as [{"kind": "image", "url": "…", "alt": "…"}].')
    kind = models.CharField(
        max_length=MAX_SLUG,
        default="text",
        validators=[validate_slug],
        help_text="Kind of post: text, image, video, film …",
    )
    language = models.CharField(
        max_length=MAX_LANGUAGE, blank=True, help_text="BCP 47 tag, such as en or pt-BR. Empty: unknown."
    )
    tags = models.JSONField(default=list, blank=True, help_text="Topics of the post, main topic first.")
    created_at = models.DateTimeField()
    visibility = models.PositiveSmallIntegerField(choices=VISIBILITIES, default=Visibility.PUBLIC.value)
    safety_labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='A score from 0 to 1 for each label, such as {"violence": 0.4}. Empty: safe.',
    )
    sensitivity = models.PositiveSmallIntegerField(
        choices=SENSITIVITIES,
        default=Sensitivity.SAFE.value,
        help_text="Derived from the safety labels when the post is published.",
    )
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the post was removed. Empty: the post is not removed."
    )
    changed_at = models.DateTimeField(
        db_index=True, help_text="Processes read the posts that changed after their last refresh."
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["author", "-created_at"], name="posts_by_author"),
            models.Index(fields=["-created_at"], name="posts_by_age"),
        ]

    def __str__(self) -> str:
        return self.external_id


class PostEmbedding(models.Model):
    """The vector of a post in one space from one embedding model: the source of truth of every vector index."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="embeddings", db_index=False)
    space = models.CharField(max_length=16, default="content", help_text="Name of the vector space: content, image …")
    embedding_model = models.CharField(max_length=MAX_MODEL, help_text="The embedding model, with its version.")
    dimension = models.PositiveIntegerField()
    vector = models.BinaryField(help_text="float32, little-endian, unit length. Zero if there is nothing to embed.")
    version = models.PositiveIntegerField(default=1, help_text="Increases by 1 each time the vector is replaced.")
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
        return gettext("Vector of post {post} in the space {space}").format(
            post=related_name(self, "post"), space=self.space
        )


class ErasedPost(models.Model):
    """
    The id of a post that was deleted, so that every process evicts the post from memory.

    It does not say who wrote the post. Deleted after some days: a process that starts later never loads the post.
    """

    post_id = models.BigIntegerField(primary_key=True)
    erased_at = models.DateTimeField(db_index=True)
    is_indexed = models.BooleanField(
        default=False, db_index=True, help_text="Whether Qdrant may still hold the post's vectors."
    )

    def __str__(self) -> str:
        return gettext("Erased post {post}").format(post=f"#{self.post_id}")
