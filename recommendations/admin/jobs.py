"""Jobs and their chunks: read, cancel, retry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import TabularInline

from monitoring.admin_columns import identifier
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.number_texts import with_count
from recommendations.admin.formatting import format_progress
from recommendations.models import ErasedPost, Job, JobChunk, JobFailure, JobFile
from recommendations.services import work

ITEM_ID = identifier("item_id", gettext_lazy("item"))


class JobChunkInline(TabularInline):  # type: ignore[misc]
    model = JobChunk
    fields = ("number", "state", "slot", "attempts", "leased_until", "error")
    readonly_fields = fields
    per_page = 20
    can_delete = False
    max_num = 0


class JobFailureInline(TabularInline):  # type: ignore[misc]
    model = JobFailure
    verbose_name_plural = gettext_lazy("failed items")
    fields = (ITEM_ID, "problem", "failed_at")
    readonly_fields = fields
    per_page = 20
    can_delete = False
    max_num = 0


@admin.register(Job)
class JobAdmin(ServiceRowsAdmin):
    list_display = ("kind", "state", "priority", "progress", "failed", "deadline", "created_at", "finished_at", "id")
    list_filter = ("kind", "state", "priority")
    search_fields = ("=id",)
    search_help_text = gettext_lazy("Id of the job")
    inlines = (JobFailureInline, JobChunkInline)
    actions = ("cancel", "retry")

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, job: Job) -> str:
        """Return the number of processed items and of all items."""
        return format_progress(job.done + job.failed, job.total)

    # A separate permission from "change", because the form must stay read-only.
    @admin.action(
        description=gettext_lazy("Cancel: running chunks finish, queued chunks do not start"), permissions=["operate"]
    )
    def cancel(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Request that these jobs stop."""
        count = run_for_each(jobs, partial(work.cancel_job, now=now()))
        text = ngettext("{n} job will stop.", "{n} jobs will stop.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)

    @admin.action(description=gettext_lazy("Retry failed and cancelled items"), permissions=["operate"])
    def retry(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Queue the failed and cancelled items of these jobs again."""
        count = run_for_each(jobs, partial(work.retry_job, now=now()))
        text = ngettext("{n} job queued again.", "{n} jobs queued again.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run the actions."""
        return request.user.has_perm("recommendations.change_job")


def run_for_each(jobs: QuerySet[Job], operation: Callable[..., object]) -> int:
    """Call *operation* for each job, and return the number of jobs."""
    ids = list(jobs.values_list("pk", flat=True))
    for job_id in ids:
        operation(job_id=job_id)
    return len(ids)


@admin.register(JobChunk)
class JobChunkAdmin(ServiceRowsAdmin):
    list_display = ("job", "number", "state", "priority", "slot", "attempts", "leased_until", "error")
    list_filter = ("state", "priority")
    list_select_related = ("job",)
    search_fields = ("=job__id",)
    search_help_text = gettext_lazy("Id of the job")


@admin.register(JobFailure)
class JobFailureAdmin(ServiceRowsAdmin):
    list_display = ("job", ITEM_ID, "problem", "failed_at")
    fields = readonly_fields = list_display
    list_filter = ("job__kind",)
    list_select_related = ("job",)
    search_fields = ("=job__id",)
    search_help_text = gettext_lazy("Id of the job")
    actions = ("retry",)

    @admin.action(description=gettext_lazy("Retry these items, if their job is finished"), permissions=["operate"])
    def retry(self, request: HttpRequest, failures: QuerySet[JobFailure]) -> None:
        """Queue these items again, and no other items of their jobs."""
        items = defaultdict(set)
        for job_id, item_id in failures.values_list("job_id", "item_id"):
            items[job_id].add(item_id)
        for job_id in sorted(items):
            work.retry_job(job_id=job_id, item_ids=items[job_id], now=now())
        text = ngettext("The items of {n} job are queued again.", "The items of {n} jobs are queued again.", len(items))
        self.message_user(request, with_count(text, len(items)), messages.SUCCESS)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run the action."""
        return request.user.has_perm("recommendations.change_job")


@admin.register(JobFile)
class JobFileAdmin(ServiceRowsAdmin):
    # The content is personal data, so it is available only through the API.
    list_display = ("job", "member", "created_at")
    list_select_related = ("job", "member")
    fields = ("job", "member", "created_at")
    search_fields = ("^member__external_id",)
    search_help_text = gettext_lazy("First characters of the member's id")


@admin.register(ErasedPost)
class ErasedPostAdmin(ServiceRowsAdmin):
    list_display = (identifier("post_id", gettext_lazy("post")), "erased_at")
    fields = readonly_fields = list_display
