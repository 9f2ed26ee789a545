"""The flags' pages in the admin."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from flags.models import Flag


@admin.register(Flag)
class FlagAdmin(ModelAdmin):
    list_display = ("key", "is_enabled", "rollout_percentage", "changed_at", "description")
    search_fields = ("key", "description")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
