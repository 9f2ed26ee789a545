"""The change log: to look at when somebody asks what a process was told."""

from __future__ import annotations

from django.contrib import admin

from recommendations.admin.base import ReadOnlyPage
from recommendations.models import Change, ChangeCut, ChangeMark


@admin.register(Change)
class ChangeAdmin(ReadOnlyPage):
    list_display = ("id", "kind", "subject", "position")
    list_filter = ("kind",)
    ordering = ("-id",)
    search_fields = ("=subject",)
    search_help_text = "The number of a post or a member"


@admin.register(ChangeMark)
class ChangeMarkAdmin(ReadOnlyPage):
    list_display = ("position", "at")
    ordering = ("-at",)


@admin.register(ChangeCut)
class ChangeCutAdmin(ReadOnlyPage):
    list_display = ("position",)
