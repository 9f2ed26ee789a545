"""Admin of the change history (read-only) and of pending changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from flags.admin.base import action_dialog, redirect_from_dialog, run_action
from flags.differences import FieldDifference, find_differences
from flags.models import FlagChange, PendingChange
from flags.models.changes import name_action
from flags.services import approve
from flags.services.change import SUBJECT_HANDLERS
from monitoring.admin_columns import StateLabel
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now


def difference_table(rows: list[FieldDifference]) -> str:
    """Return the differences as an HTML table."""
    table_rows = format_html_join(
        "",
        '<tr><td class="pr-4 align-top">{}</td><td class="pr-4 align-top line-through">{}</td><td>{}</td></tr>',
        ((row.field, row.before, row.after) for row in rows),
    )
    return format_html('<table class="text-left">{}</table>', table_rows)


@admin.register(FlagChange)
class FlagChangeAdmin(ServiceRowsAdmin):
    list_display = ("changed_at", "subject", "key", "action_words", "actor_name", "why")
    list_filter = ("subject", "action")
    search_fields = ("key", "why")
    date_hierarchy = "changed_at"
    fields = (
        "subject",
        "key",
        "action_words",
        "changed_at",
        "actor_name",
        "approved_by",
        "why",
        "changed_fields",
        "guardrail_checks",
    )

    @display(description=gettext_lazy("action"), ordering="action")
    def action_words(self, row: FlagChange) -> str:
        return name_action(row.action)

    @display(description=gettext_lazy("Changes"))
    def changed_fields(self, row: FlagChange) -> str:
        return difference_table(find_differences(row.before, row.after))

    @display(description=gettext_lazy("Guardrail checks"))
    def guardrail_checks(self, row: FlagChange) -> str:
        return format_html_join("", "<div>{}</div>", ((text,) for text in row.evidence_texts))


@admin.register(PendingChange)
class PendingChangeAdmin(ServiceRowsAdmin):
    list_display = ("key", "action_words", "why", "requested_by", "requested_at", "state_label")
    list_filter = ("state",)
    fields = (
        "key",
        "action_words",
        "why",
        "requested_by",
        "requested_at",
        "state_label",
        "decided_by",
        "decided_at",
        "changed_fields",
    )
    actions_detail = ("approve", "reject")

    @display(
        description=gettext_lazy("State"), label={"pending": "warning", "approved": "success", "rejected": "danger"}
    )
    def state_label(self, row: PendingChange) -> StateLabel:
        return StateLabel(row.state, row.get_state_display())

    @display(description=gettext_lazy("action"), ordering="action")
    def action_words(self, row: PendingChange) -> str:
        return name_action(row.action)

    @display(description=gettext_lazy("Proposed changes"))
    def changed_fields(self, row: PendingChange) -> str:
        handler = SUBJECT_HANDLERS[row.subject]  # type: ignore[index]
        subject = handler.model.objects.filter(key=row.key).first()
        current = handler.to_document(subject) if subject else {}
        return difference_table(find_differences(current, current | row.patch))

    def submit_decision(
        self, request: HttpRequest, object_id: str, decision: Callable[..., object], success_message: str
    ) -> HttpResponse:
        """Save the decision and return to the list."""
        run_action(request, lambda: decision(pending_id=int(object_id), user=request.user, now=now()), success_message)
        return redirect_from_dialog(reverse("admin:flags_pendingchange_changelist"))

    @action(
        description=gettext_lazy("Approve"),
        icon="check",
        variant=ActionVariant.PRIMARY,
        permissions=["view"],
        dialog=action_dialog(
            gettext_lazy("Approve this change?"),
            gettext_lazy("The change is applied at once."),
            gettext_lazy("Approve"),
            BaseDialogForm,
        ),
    )
    def approve(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Approve and apply the change."""
        return self.submit_decision(request, object_id, approve.approve, gettext("Approved."))

    @action(
        description=gettext_lazy("Reject"),
        icon="close",
        permissions=["view"],
        dialog=action_dialog(
            gettext_lazy("Reject this change?"),
            gettext_lazy("Nothing changes."),
            gettext_lazy("Reject"),
            BaseDialogForm,
        ),
    )
    def reject(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Reject the change."""
        return self.submit_decision(request, object_id, approve.reject, gettext("Rejected."))
