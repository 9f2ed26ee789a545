"""What was maintained, to look at: only the service writes it."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from monitoring.models import MaintenanceDuty, MaintenanceRun


class ReadOnlyPage(ModelAdmin):  # type: ignore[misc]
    """For what the service alone writes."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(MaintenanceRun)
class MaintenanceRunAdmin(ReadOnlyPage):
    list_display = ("name", "outcome", "started_at", "took", "rows", "bytes", "note", "error")
    list_filter = ("outcome", "name")
    search_fields = ("^name",)
    search_help_text = "The first characters of the duty's name"
    date_hierarchy = "started_at"

    @admin.display(description="seconds", ordering="seconds")
    def took(self, run: MaintenanceRun) -> str:
        """Return how long it took."""
        return f"{run.seconds:.3f}"


@admin.register(MaintenanceDuty)
class MaintenanceDutyAdmin(ReadOnlyPage):
    list_display = ("name", "taken_at", "is_running")
    list_filter = ("is_running",)
