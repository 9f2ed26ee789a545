"""What members did and saw, what they were served, and the files that were imported: all written by the service."""

from __future__ import annotations

import numpy as np
from django.contrib import admin
from django.utils.safestring import SafeString

from recommendations.admin.base import ReadOnlyPage
from recommendations.admin.binary import floats, table
from recommendations.contracts import origins_of
from recommendations.models import FeedRequest, ImportCheckpoint, Interaction, Post, Seen


@admin.register(Interaction)
class InteractionAdmin(ReadOnlyPage):
    list_display = ("event_id", "member", "kind", "post", "value", "occurred_at", "is_learned")
    list_filter = ("kind", "is_learned")
    list_select_related = ("member", "post")
    search_fields = ("=event_id", "=member__external_id", "=post__external_id")
    search_help_text = "The id of the event, the member or the post"


@admin.register(Seen)
class SeenAdmin(ReadOnlyPage):
    list_display = ("member", "post", "seen_at")
    list_select_related = ("member", "post")
    search_fields = ("=member__external_id", "=post__external_id")
    search_help_text = "The id of the member or the post"


@admin.register(FeedRequest)
class FeedRequestAdmin(ReadOnlyPage):
    list_display = ("id", "member", "feed", "engine", "variant", "fallback", "candidates", "duration_ms", "created_at")
    list_filter = ("feed", "engine", "variant", "fallback")
    list_select_related = ("member",)
    search_fields = ("=id", "=member__external_id")
    search_help_text = "The request's id or the member's"
    date_hierarchy = "created_at"
    fields = (*list_display, "policy_version", "served")
    readonly_fields = ("served",)

    @admin.display(description="served, best first")
    def served(self, request: FeedRequest) -> SafeString:
        """Return what was served as a table: a row for each pick, a column for each part of its score."""
        ids = np.frombuffer(bytes(request.post_ids), "<i8").tolist()
        names = dict(Post.objects.filter(pk__in=ids).values_list("pk", "external_id"))
        origins = np.frombuffer(bytes(request.origins), "<u2").tolist()
        width = len(request.part_names)
        parts = floats(request.parts).reshape(len(ids), width) if width else np.zeros((len(ids), 0))
        rows = (
            (
                rank,
                names.get(pk, f"(gone: {pk})"),
                f"{sum(row):.4f}",
                *(f"{value:.4f}" for value in row),
                ", ".join(origin.name.lower() for origin in origins_of(bits)),
            )
            for rank, (pk, row, bits) in enumerate(zip(ids, parts.tolist(), origins, strict=True), 1)
        )
        return table(("#", "post", "score", *request.part_names, "sources"), rows)


@admin.register(ImportCheckpoint)
class ImportCheckpointAdmin(ReadOnlyPage):
    list_display = ("kind", "sha256", "line", "new", "changed", "same", "rejected", "started_at", "finished_at")
    list_filter = ("kind", ("finished_at", admin.EmptyFieldListFilter))
    search_fields = ("^sha256",)
