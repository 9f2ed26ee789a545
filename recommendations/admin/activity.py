"""What members did and saw, what they were served, and the files that were imported: all written by the service."""

from __future__ import annotations

import numpy as np
from django.contrib import admin
from django.utils.safestring import SafeString

from recommendations.admin.base import ReadOnlyPage
from recommendations.admin.binary import floats, table
from recommendations.contracts import origins_of
from recommendations.models import (
    FeedHour,
    FeedInputs,
    FeedRequest,
    ImportCheckpoint,
    Interaction,
    LessOf,
    Post,
    Seen,
    ServedPage,
    Undo,
)


@admin.register(Interaction)
class InteractionAdmin(ReadOnlyPage):
    list_display = ("event_id", "member", "kind", "post", "reason", "value", "occurred_at", "is_learned", "undone_at")
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


@admin.register(Undo)
class UndoAdmin(ReadOnlyPage):
    list_display = ("event_id", "member", "target_event_id", "received_at")
    list_select_related = ("member",)
    search_fields = ("=event_id", "=target_event_id")
    search_help_text = "The id of the event or of the one that it undoes"


@admin.register(LessOf)
class LessOfAdmin(ReadOnlyPage):
    list_display = ("member", "subject", "key", "post", "created_at")
    list_filter = ("subject",)
    list_select_related = ("member", "post")
    search_fields = ("=member__external_id", "=key")
    search_help_text = "The member's id, a tag or a format"


@admin.register(ServedPage)
class ServedPageAdmin(ReadOnlyPage):
    list_display = ("request_id", "member", "offset", "posts", "created_at")
    list_select_related = ("member",)
    search_fields = ("=request_id", "=member__external_id")
    search_help_text = "The request's id or the member's"
    fields = ("request_id", "member", "offset", "shown", "created_at")
    readonly_fields = ("shown",)

    @admin.display
    def posts(self, page: ServedPage) -> int:
        """Return how many posts were on it."""
        return len(bytes(page.post_ids)) // 8

    @admin.display(description="posts, in order")
    def shown(self, page: ServedPage) -> str:
        """Return the ids of its posts."""
        ids = np.frombuffer(bytes(page.post_ids), "<i8").tolist()
        names = dict(Post.objects.filter(pk__in=ids).values_list("pk", "external_id"))
        return ", ".join(names.get(pk, f"(gone: {pk})") for pk in ids)


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


@admin.register(FeedInputs)
class FeedInputsAdmin(ReadOnlyPage):
    list_display = ("request", "bytes_kept", "created_at")
    search_fields = ("=request__id",)
    search_help_text = "The request's id"
    fields = ("request", "bytes_kept", "created_at")
    readonly_fields = ("bytes_kept",)

    @admin.display(description="bytes")
    def bytes_kept(self, inputs: FeedInputs) -> int:
        """Return how much is kept."""
        return len(bytes(inputs.packed))


@admin.register(FeedHour)
class FeedHourAdmin(ReadOnlyPage):
    list_display = (
        *("hour", "feed", "engine", "variant", "slates", "p50_ms", "p95_ms", "fallbacks", "empty"),
        *("pages", "shown", "engaged"),
    )
    list_filter = ("feed", "engine", "variant")
    date_hierarchy = "hour"
