"""Read-only pages of the change log, for debugging the caches of a process."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy

from monitoring.admin_columns import identifier
from monitoring.admin_lists import ServiceRowsAdmin
from recommendations.models import ChangeLogEntry, ChangeLogMark, ChangeLogTruncation

ID, POSITION = identifier("id", gettext_lazy("id")), identifier("position", gettext_lazy("position"))


@admin.register(ChangeLogEntry)
class ChangeLogEntryAdmin(ServiceRowsAdmin):
    list_display = (ID, "kind", identifier("row_id", gettext_lazy("row")), POSITION)
    fields = readonly_fields = list_display
    list_filter = ("kind",)
    ordering = ("-id",)
    search_fields = ("=row_id",)
    search_help_text = gettext_lazy("Primary key of a post or a member")


@admin.register(ChangeLogMark)
class ChangeLogMarkAdmin(ServiceRowsAdmin):
    list_display = (POSITION, "recorded_at")
    fields = readonly_fields = list_display
    ordering = ("-recorded_at",)


@admin.register(ChangeLogTruncation)
class ChangeLogTruncationAdmin(ServiceRowsAdmin):
    list_display = (POSITION,)
    fields = readonly_fields = list_display
