"""The flags' pages in the admin."""

from django.contrib import admin
from django.http import HttpRequest
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin

from flags.models import Flag
from flags.services import compiled
from monitoring import clock


@admin.register(Flag)
class FlagAdmin(SimpleHistoryAdmin, ModelAdmin):
    list_display = ("key", "is_enabled", "rollout_percentage", "changed_at", "description")
    list_editable = ("is_enabled", "rollout_percentage")
    list_filter = ("is_enabled",)
    search_fields = ("key", "description")
    readonly_fields = ("changed_at",)
    history_list_display = ("is_enabled", "rollout_percentage")

    def save_model(self, request: HttpRequest, obj: Flag, form: object, change: bool) -> None:
        """Date the change, and let this process see it at once."""
        obj.changed_at = clock.now()
        super().save_model(request, obj, form, change)
        compiled.forget()
