"""Read-only pages: interactions, seen posts, served pages, feed requests and imported files."""

from __future__ import annotations

import numpy as np
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_columns import fraction, identifier, rounded
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.number_texts import ShownNumber, decimals, grouped, shown
from recommendations.admin.formatting import html_link, html_table, unpack_floats
from recommendations.contracts import origins_of
from recommendations.models import (
    AuthorCrowd,
    CrowdNewcomer,
    DampedEngagement,
    FeedHour,
    FeedInputs,
    FeedRequest,
    ImportCheckpoint,
    Interaction,
    NegativeFeedback,
    Post,
    SeenPost,
    SeenReport,
    ServedPage,
    Undo,
)

ID, POST_ID = identifier("id", gettext_lazy("id")), identifier("post_id", gettext_lazy("post"))
DURATION = rounded("duration_ms", description=gettext_lazy("ms"))
HOUR_FIGURES = (
    rounded("slate_count", 0, gettext_lazy("slates")),
    rounded("p50_ms", description=gettext_lazy("p50 ms"), count="slate_count"),
    rounded("p95_ms", description=gettext_lazy("p95 ms"), count="slate_count"),
    rounded("fallback_count", 0, gettext_lazy("fallbacks")),
    rounded("page_count", 0, gettext_lazy("pages")),
    rounded("served_count", 0, gettext_lazy("served")),
    rounded("engagement_count", 0, gettext_lazy("engaged")),
)


@admin.register(Interaction)
class InteractionAdmin(ServiceRowsAdmin):
    list_display = (
        "event_id",
        "sender",
        "member",
        "kind",
        "post",
        "target",
        "value",
        "occurred_at",
        "is_learned",
        "undone_at",
    )
    list_filter = ("kind", "is_learned")
    list_select_related = ("member", "post")
    search_fields = ("=event_id", "=member__external_id", "=post__external_id")
    search_help_text = gettext_lazy("Id of the event, the member or the post")


@admin.register(SeenPost)
class SeenPostAdmin(ServiceRowsAdmin):
    list_display = ("member", "post", "seen_at")
    list_select_related = ("member", "post")
    search_fields = ("=member__external_id", "=post__external_id")
    search_help_text = gettext_lazy("Id of the member or the post")


@admin.register(SeenReport)
class SeenReportAdmin(ServiceRowsAdmin):
    list_display = (ID, POST_ID)
    fields = readonly_fields = list_display


@admin.register(Undo)
class UndoAdmin(ServiceRowsAdmin):
    list_display = ("event_id", "sender", "member", "undoes_event_id", "received_at")
    list_select_related = ("member",)
    search_fields = ("=event_id", "=undoes_event_id")
    search_help_text = gettext_lazy("Id of the event or of the undone event")


@admin.register(NegativeFeedback)
class NegativeFeedbackAdmin(ServiceRowsAdmin):
    list_display = ("member", "target", "target_key", "post", "created_at")
    list_filter = ("target",)
    list_select_related = ("member", "post")
    search_fields = ("=member__external_id", "=target_key")
    search_help_text = gettext_lazy("Id of the member or the author, a tag or a kind")


@admin.register(DampedEngagement)
class DampedEngagementAdmin(ServiceRowsAdmin):
    """Members whose interactions count by less than half, each with the bound that applied."""

    list_display = ("member", "reason", "author", "post", "day", rounded("given"), rounded("counted"))
    fields = list_display
    readonly_fields = list_display
    list_select_related = ("member", "author", "post")
    search_fields = ("=member__external_id", "=author__external_id", "=post__external_id")
    search_help_text = gettext_lazy("Id of the member, the author or the post")
    date_hierarchy = "day"


@admin.register(AuthorCrowd)
class AuthorCrowdAdmin(ServiceRowsAdmin):
    """Crowds of newcomers whose reactions to an author's posts count in part."""

    list_display = (
        "author",
        "day",
        "newcomers",
        "others",
        fraction("share", gettext_lazy("share that counts")),
        "changed_at",
    )
    fields = (*list_display, "member_list")
    readonly_fields = (list_display[4], "member_list")
    list_select_related = ("author",)
    search_fields = ("=author__external_id",)
    search_help_text = gettext_lazy("Id of the author")
    date_hierarchy = "day"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuthorCrowd]:
        """Return the crowds that are damped: almost every post has one that is not."""
        crowds: QuerySet[AuthorCrowd] = super().get_queryset(request)
        return crowds.filter(share__lt=1)

    @admin.display(description=gettext_lazy("its members"))
    def member_list(self, crowd: AuthorCrowd) -> SafeString:
        """Return a link to the list of the ring's members."""
        url = reverse("admin:recommendations_crowdnewcomer_changelist")
        return html_link(f"{url}?author={crowd.author_id}&day={crowd.day}", grouped(crowd.newcomers))


@admin.register(CrowdNewcomer)
class CrowdNewcomerAdmin(ServiceRowsAdmin):
    """Newcomers who reacted to an author's posts, each with the share that counts."""

    list_display = ("member", "author", "day", fraction("share", gettext_lazy("share that counts")))
    fields = list_display
    readonly_fields = (list_display[3],)
    list_select_related = ("member", "author")
    list_filter = ("day",)
    search_fields = ("=member__external_id", "=author__external_id")
    search_help_text = gettext_lazy("Id of the member or the author")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CrowdNewcomer]:
        """Return the members of rings."""
        newcomers: QuerySet[CrowdNewcomer] = super().get_queryset(request)
        return newcomers.filter(share__lt=1)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the link from a ring to its members."""
        return lookup == "author" or bool(super().lookup_allowed(lookup, value, request))


@admin.register(ServedPage)
class ServedPageAdmin(ServiceRowsAdmin):
    list_display = ("request_id", "member", "offset", "post_count", "created_at")
    list_select_related = ("member",)
    search_fields = ("=request_id", "=member__external_id")
    search_help_text = gettext_lazy("Id of the request or the member")
    fields = ("request_id", "member", "offset", "post_list", "created_at")
    readonly_fields = ("post_list",)

    @admin.display(description=gettext_lazy("post count"))
    def post_count(self, page: ServedPage) -> ShownNumber:
        """Return the number of posts on the page."""
        return shown(len(bytes(page.post_ids)) // 8)

    @admin.display(description=gettext_lazy("posts, in order"))
    def post_list(self, page: ServedPage) -> str:
        """Return the ids of the posts on the page."""
        ids = np.frombuffer(bytes(page.post_ids), "<i8").tolist()
        names = dict(Post.objects.filter(pk__in=ids).values_list("pk", "external_id"))
        return ", ".join(names.get(pk, gettext("(deleted: {id})").format(id=pk)) for pk in ids)


@admin.register(FeedRequest)
class FeedRequestAdmin(ServiceRowsAdmin):
    list_display = (
        "id",
        "member",
        "feed",
        "engine",
        "variant",
        "fallback",
        "candidate_count",
        DURATION,
        "created_at",
    )
    list_filter = ("feed", "engine", "variant", "fallback")
    list_select_related = ("member",)
    search_fields = ("=id", "=member__external_id")
    search_help_text = gettext_lazy("Id of the request or the member")
    date_hierarchy = "created_at"
    fields = (*list_display, "policy_version", "picks_table")
    readonly_fields = ("picks_table", DURATION)

    @admin.display(description=gettext_lazy("served, best first"))
    def picks_table(self, request: FeedRequest) -> SafeString:
        """Return the slate as a table: a row per pick, a column per score part."""
        ids = np.frombuffer(bytes(request.post_ids), "<i8").tolist()
        names = dict(Post.objects.filter(pk__in=ids).values_list("pk", "external_id"))
        origins = np.frombuffer(bytes(request.origins), "<u2").tolist()
        width = len(request.part_names)
        parts = unpack_floats(request.parts).reshape(len(ids), width) if width else np.zeros((len(ids), 0))
        rows = (
            (
                rank,
                names.get(pk, gettext("(deleted: {id})").format(id=pk)),
                decimals(sum(row), 4),
                *(decimals(value, 4) for value in row),
                ", ".join(origin.name.lower() for origin in origins_of(bits)),
            )
            for rank, (pk, row, bits) in enumerate(zip(ids, parts.tolist(), origins, strict=True), 1)
        )
        return html_table(("#", gettext("post"), gettext("score"), *request.part_names, gettext("sources")), rows)


@admin.register(ImportCheckpoint)
class ImportCheckpointAdmin(ServiceRowsAdmin):
    list_display = (
        "kind",
        "sha256",
        "line",
        "created",
        "updated",
        "unchanged",
        "rejected",
        "started_at",
        "finished_at",
    )
    list_filter = ("kind", ("finished_at", admin.EmptyFieldListFilter))
    search_fields = ("^sha256",)


@admin.register(FeedInputs)
class FeedInputsAdmin(ServiceRowsAdmin):
    list_display = ("request", "size", "created_at")
    search_fields = ("=request__id",)
    search_help_text = gettext_lazy("Id of the request")
    fields = ("request", "size", "created_at")
    readonly_fields = ("size",)

    @admin.display(description=gettext_lazy("size"))
    def size(self, inputs: FeedInputs) -> str:
        """Return the size of the stored inputs with its unit."""
        return filesizeformat(len(bytes(inputs.packed_inputs)))


@admin.register(FeedHour)
class FeedHourAdmin(ServiceRowsAdmin):
    list_display = ("hour", "feed", "engine", "variant", *HOUR_FIGURES)
    ordering = ("-hour",)
    fields = (*list_display, "empty_count")
    readonly_fields = HOUR_FIGURES
    list_filter = ("feed", "engine", "variant")
    date_hierarchy = "hour"
