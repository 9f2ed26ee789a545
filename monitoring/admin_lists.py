"""Base classes of the admin's pages: lists of tables that may be large, and pages of rows that only services write."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import override
from unfold.admin import ModelAdmin

from monitoring.number_texts import grouped


class ListAdmin(ModelAdmin):  # type: ignore[misc]
    """
    An admin whose list does not count all rows beside the filtered rows, and writes their count with separators.

    The log of staff changes names rows in one language: it is stored, and others read it.
    """

    show_full_result_count = False
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows with the related rows that a list shows, which the text of a row names as well."""
        rows: QuerySet[Any] = super().get_queryset(request)
        related = self.list_select_related
        return rows.select_related(*related) if isinstance(related, tuple) and related else rows

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list. Django puts the count of its rows into one text with `%`, which does not group digits."""
        response: HttpResponse = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "selection_note_all" in context:
            count = context["cl"].result_count
            context["selection_note_all"] = context["selection_note_all"].replace(str(count), grouped(count))
        return response

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record that a row was added."""
        with override(settings.LANGUAGE_CODE):
            return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record that a row was changed."""
        with override(settings.LANGUAGE_CODE):
            return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Record that rows were deleted."""
        with override(settings.LANGUAGE_CODE):
            return super().log_deletions(request, queryset)


class ServiceRowsAdmin(ListAdmin):
    """An admin without adding, changing and deleting: only services write these rows."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
