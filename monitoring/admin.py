"""Admin pages: maintenance runs and alerts (read-only), alert rules and silences (editable)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Field, Model, QuerySet
from django.forms import ChoiceField, ModelForm
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy, ngettext
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminSelectWidget

from monitoring import gauges
from monitoring.admin_columns import byte_size, rounded
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.models import Alert, AlertRule, MaintenanceRun, MaintenanceTask, Notice, Silence
from monitoring.number_texts import with_count
from monitoring.row_forms import UnchangedRowAdmin

THRESHOLD = rounded("threshold", 6)
SECONDS, SIZE = rounded("seconds", 3), byte_size("bytes", gettext_lazy("size"))


@admin.register(MaintenanceRun)
class MaintenanceRunAdmin(ServiceRowsAdmin):
    list_display = ("name", "outcome", "started_at", SECONDS, "rows", SIZE, "note", "error")
    fields = list_display
    readonly_fields = (SECONDS, SIZE)
    list_filter = ("outcome", "name")
    search_fields = ("^name",)
    search_help_text = gettext_lazy("The first characters of the maintenance task's name")
    date_hierarchy = "started_at"


@admin.register(MaintenanceTask)
class MaintenanceTaskAdmin(ServiceRowsAdmin):
    list_display = ("name", "claimed_at", "is_running")
    list_filter = ("is_running",)


@admin.register(AlertRule)
class AlertRuleAdmin(UnchangedRowAdmin):
    list_display = ("name", "metric", "labels", "comparison", THRESHOLD, "for_seconds", "severity", "is_enabled")
    list_filter = ("severity", "is_enabled")
    search_fields = ("name", "metric")
    warn_unsaved_form = True

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Offer only registered gauges as a rule's metric."""
        if db_field.name == "metric":
            choices = [(name, name) for name in gauges.gauge_names()]
            label, help_text = capfirst(db_field.verbose_name), db_field.help_text
            return ChoiceField(choices=choices, label=label, help_text=help_text, widget=UnfoldAdminSelectWidget)
        return super().formfield_for_dbfield(db_field, request, **kwargs)


class NoticeInline(TabularInline):  # type: ignore[misc]
    model = Notice
    fields = ("channel", "event", "state", "attempts", "due_at", "sent_at", "error")
    readonly_fields = fields
    can_delete = False
    max_num = 0


@admin.register(Alert)
class AlertAdmin(UnchangedRowAdmin):
    list_display = (
        "name",
        "severity_text",
        "state_text",
        rounded("value", 4),
        "began_at",
        "fired_at",
        "resolved_at",
        "acknowledged_by",
    )
    list_filter = ("state", "severity", "name")
    search_fields = ("name", "summary", "note")
    date_hierarchy = "began_at"
    fields = (
        *("name", "severity_text", "state_text", "value", "summary_text", "labels"),
        *("began_at", "fired_at", "resolved_at", "acknowledged_at", "acknowledged_by", "note"),
    )
    readonly_fields = fields[:-1]
    inlines = (NoticeInline,)
    actions = ("acknowledge",)

    @admin.display(description=gettext_lazy("severity"), ordering="severity")
    def severity_text(self, alert: Alert) -> str:
        """Return the severity in the language of the page. One that only Alertmanager uses is as it was sent."""
        return gettext(alert.severity)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_text(self, alert: Alert) -> str:
        """Return the state in one word: that of a pending alert is a sentence elsewhere."""
        return gettext(alert.state)

    @admin.display(description=gettext_lazy("summary"))
    def summary_text(self, alert: Alert) -> str:
        """Return the summary in the language of the page."""
        return alert.shown_summary

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Let users with the permission to change alerts edit the note. Every other field is read-only."""
        return request.user.has_perm("monitoring.change_alert")

    def save_model(self, request: HttpRequest, obj: Alert, form: ModelForm[Any], change: bool) -> None:
        """Save the note and acknowledge the alert. Other fields are not saved: the evaluation may have changed them."""
        super().save_model(request, obj, form, change)
        self.acknowledge_all(Alert.objects.filter(pk=obj.pk), request)

    @admin.action(description=gettext_lazy("Acknowledge: no further notices are sent"), permissions=["change"])
    def acknowledge(self, request: HttpRequest, alerts: QuerySet[Alert]) -> None:
        """Mark these alerts as acknowledged by the current user."""
        count = self.acknowledge_all(alerts, request)
        text = ngettext("{n} alert acknowledged.", "{n} alerts acknowledged.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)

    def acknowledge_all(self, alerts: QuerySet[Alert], request: HttpRequest) -> int:
        """Acknowledge those of *alerts* that are not acknowledged yet. Return their number."""
        return alerts.filter(acknowledged_at=None).update(acknowledged_at=now(), acknowledged_by=request.user)


@admin.register(Silence)
class SilenceAdmin(UnchangedRowAdmin):
    list_display = ("__str__", "severity", "starts_at", "ends_at", "reason", "created_by")
    list_filter = ("severity",)
    exclude = ("created_by",)

    def save_model(self, request: HttpRequest, obj: Silence, form: ModelForm[Any], change: bool) -> None:
        """Record the user who created the silence."""
        if obj.created_by is None:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
