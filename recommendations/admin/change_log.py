"""Read-only pages of the change log, for debugging the caches of a process."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy

from recommendations.admin.base import ReadOnlyAdmin
from recommendations.models import ChangeLogEntry, ChangeLogMark, ChangeLogTruncation


@admin.register(ChangeLogEntry)
class ChangeLogEntryAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "row_id", "position")
    list_filter = ("kind",)
    ordering = ("-id",)
    search_fields = ("=row_id",)
    search_help_text = gettext_lazy("Primary key of a post or a member")


@admin.register(ChangeLogMark)
class ChangeLogMarkAdmin(ReadOnlyAdmin):
    list_display = ("position", "recorded_at")
    ordering = ("-recorded_at",)


@admin.register(ChangeLogTruncation)
class ChangeLogTruncationAdmin(ReadOnlyAdmin):
    list_display = ("position",)
