"""Base classes of the admin pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.forms import BaseModelFormSet, ModelForm
from django.http import HttpRequest

from monitoring.clock import now
from monitoring.row_forms import UnchangedRowAdmin
from recommendations.services.content import publish


class BaseAdmin(UnchangedRowAdmin):
    """For rows that nobody deletes by hand."""

    warn_unsaved_form = True

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class TrackedAdmin(BaseAdmin):
    """For rows that catalogues track by `changed_at`: a change sets it and invalidates the affected slates."""

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        obj.changed_at = now()
        super().save_model(request, obj, form, change)
        self.publish_change(obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseModelFormSet[Any, Any], change: bool) -> None:
        for inline in formset.forms:
            inline.instance.changed_at = now()
        super().save_formset(request, form, formset, change)

    def publish_change(self, obj: Any) -> None:
        """Invalidate the slates of the affected members."""
        publish.mark_changed(member_ids=self.affected_member_ids(obj), now=now())

    def affected_member_ids(self, obj: Any) -> Sequence[int]:
        """Return the primary keys of the members whose slates the change affects."""
        return ()
