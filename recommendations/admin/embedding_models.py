"""Embedding models, and the posts that they failed to embed."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext

from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.number_texts import with_count
from recommendations.admin.formatting import format_progress
from recommendations.models import EmbeddingFailure, EmbeddingModel
from recommendations.services.vectors import embedding


@admin.register(EmbeddingModel)
class EmbeddingModelAdmin(ServiceRowsAdmin):
    list_display = ("name", "space", "state", "progress", "dimension", "activated_at", "changed_at")
    list_filter = ("space", "state")
    search_fields = ("^name",)
    search_help_text = gettext_lazy("First characters of the embedding model's name")

    @admin.display(description=gettext_lazy("posts embedded"))
    def progress(self, model: EmbeddingModel) -> str:
        """Return the number of embedded posts and of all posts."""
        return format_progress(model.embedded_count, model.post_count)


@admin.register(EmbeddingFailure)
class EmbeddingFailureAdmin(ServiceRowsAdmin):
    list_display = ("post", "space", "embedding_model", "attempts", "error", "retry_at", "changed_at")
    list_filter = (("retry_at", admin.EmptyFieldListFilter), "space", "error")
    list_select_related = ("post",)
    search_fields = ("^post__external_id",)
    search_help_text = gettext_lazy("First characters of the post's id")
    actions = ("retry",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run the action. The page itself is read-only."""
        return request.user.has_perm("recommendations.change_embeddingfailure")

    @admin.action(description=gettext_lazy("Retry"), permissions=["retry"])
    def retry(self, request: HttpRequest, failures: QuerySet[EmbeddingFailure]) -> None:
        """Reset the attempts of these failures, so that the posts are embedded again."""
        count = embedding.retry_failures(failure_ids=list(failures.values_list("pk", flat=True)), now=now())
        text = ngettext("{n} post will be embedded again.", "{n} posts will be embedded again.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)
