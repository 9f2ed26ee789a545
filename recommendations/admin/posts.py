"""Posts, their embeddings and their statistics."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext

from monitoring.admin_columns import rounded
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.number_texts import with_count
from recommendations.admin.base import TrackedAdmin
from recommendations.admin.formatting import summarize_vectors
from recommendations.admin.typed_forms import PostForm
from recommendations.contracts import POPULARITY_SUMS
from recommendations.models import Post, PostEmbedding, PostStats, RegionStats
from recommendations.services.content import publish
from recommendations.services.content.safety import classify_sensitivity
from recommendations.stores.row_locks import lock_posts
from values.text import excerpt

EXCERPT_LENGTH = 60
SUM_COLUMNS = tuple(rounded(name) for name in POPULARITY_SUMS)


@admin.register(Post)
class PostAdmin(TrackedAdmin):
    form = PostForm
    list_display = (
        "external_id",
        "author",
        "text_excerpt",
        "kind",
        "language",
        "visibility",
        "sensitivity",
        "removed_at",
    )
    list_filter = ("visibility", "sensitivity", ("removed_at", admin.EmptyFieldListFilter))
    list_select_related = ("author",)
    search_fields = ("^external_id", "text")
    search_help_text = gettext_lazy("First characters of the id, or words of the text")
    autocomplete_fields = ("author",)
    date_hierarchy = "created_at"
    readonly_fields = ("sensitivity", "removed_at", "changed_at")
    actions = ("remove", "restore")
    derived_columns = ("sensitivity",)

    @admin.display(description=gettext_lazy("text"))
    def text_excerpt(self, post: Post) -> str:
        """Return the beginning of the text."""
        return excerpt(post.text, EXCERPT_LENGTH)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": now()} | super().get_changeform_initial_data(request)

    def lock_row(self, obj: Post) -> None:
        lock_posts([obj.pk])

    def save_model(self, request: HttpRequest, obj: Post, form: ModelForm[Any], change: bool) -> None:
        obj.sensitivity = classify_sensitivity(obj.safety_labels)
        super().save_model(request, obj, form, change)

    @admin.action(description=gettext_lazy("Remove from all feeds"), permissions=["change"])
    def remove(self, request: HttpRequest, posts: QuerySet[Post]) -> None:
        """Remove these posts."""
        count = publish.remove_posts(post_ids=list(posts.values_list("pk", flat=True)), now=now())
        self.message_user(
            request, with_count(ngettext("{n} post removed.", "{n} posts removed.", count), count), messages.SUCCESS
        )

    @admin.action(description=gettext_lazy("Restore"), permissions=["change"])
    def restore(self, request: HttpRequest, posts: QuerySet[Post]) -> None:
        """Restore these removed posts."""
        count = publish.restore_posts(post_ids=list(posts.values_list("pk", flat=True)), now=now())
        self.message_user(
            request, with_count(ngettext("{n} post restored.", "{n} posts restored.", count), count), messages.SUCCESS
        )


@admin.register(PostEmbedding)
class PostEmbeddingAdmin(ServiceRowsAdmin):
    list_display = ("post", "space", "embedding_model", "dimension", "version", "changed_at")
    list_filter = ("space", "embedding_model")
    list_select_related = ("post",)
    search_fields = ("^post__external_id",)
    search_help_text = gettext_lazy("First characters of the post's id")
    fields = ("post", "space", "embedding_model", "dimension", "vector_summary", "version", "changed_at")
    readonly_fields = ("vector_summary",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PostEmbedding]:
        embeddings: QuerySet[PostEmbedding] = super().get_queryset(request)
        return embeddings.defer("vector")

    @admin.display(description=gettext_lazy("vector"))
    def vector_summary(self, embedding: PostEmbedding) -> str:
        """Return the dimension and norm of the vector."""
        return summarize_vectors(embedding.vector, embedding.dimension)


@admin.register(PostStats)
class PostStatsAdmin(ServiceRowsAdmin):
    list_display = (
        "post",
        *SUM_COLUMNS,
        "summed_at",
        "interaction_count",
        "positive_count",
        "served_count",
        rounded("seen_count", 1, gettext_lazy("seen")),
        "changed_at",
    )
    list_select_related = ("post",)
    search_fields = ("^post__external_id",)
    search_help_text = gettext_lazy("First characters of the post's id")


@admin.register(RegionStats)
class RegionStatsAdmin(ServiceRowsAdmin):
    list_display = ("post", "region", *SUM_COLUMNS, "summed_at", "changed_at")
    list_filter = ("region",)
    list_select_related = ("post",)
    search_fields = ("^post__external_id", "=region")
    search_help_text = gettext_lazy("First characters of the post's id, or a region")
