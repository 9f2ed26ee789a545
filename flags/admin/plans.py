"""Admin of rollout plans and templates: phases and guardrails as rows, and the plan's steps as actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget

from flags.admin.base import (
    RecordedAdmin,
    RecordedForm,
    RecordedInline,
    WhyDialogForm,
    action_dialog,
    get_actor,
    redirect_from_dialog,
    run_action,
)
from flags.documents import Document
from flags.gauges import describe_gauges
from flags.models import ChangeSubject, Flag, Guardrail, RolloutPhase, RolloutPlan
from flags.services import rollouts
from monitoring.admin_columns import StateLabel
from monitoring.clock import now
from monitoring.number_texts import grouped, significant
from monitoring.row_forms import NamedFieldsForm

STATE_COLORS = {
    "template": "info",
    "running": "success",
    "paused": "warning",
    "rolled_back": "danger",
    "draft": "info",
    "finished": "info",
}
ACTIONS_BY_STATE = {
    "template": {"copy"},
    "draft": {"start"},
    "running": {"pause", "step_back", "stop"},
    "paused": {"resume", "step_back", "stop"},
    "rolled_back": {"start"},
    "finished": {"start"},
}
GUARDRAIL_FIELDS = ("gauge", "variant", "bound", "threshold", "window_minutes", "min_samples", "on_breach")


class PlanForm(RecordedForm):
    class Meta:
        model = RolloutPlan
        fields = "__all__"


class CopyTemplateForm(WhyDialogForm):
    """Asks for the flag of the copy."""

    flag = forms.CharField(label=gettext_lazy("Flag"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = Flag.objects.filter(is_archived=False).values_list("key", "key")
        self.fields["flag"].widget.choices = list(keys)


class GuardrailForm(NamedFieldsForm):
    gauge = forms.CharField(widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Guardrail
        fields = (*GUARDRAIL_FIELDS, "position")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["gauge"].widget.choices = [
            (name, f"{name}: {gettext(text)}") for name, text in describe_gauges().items()
        ]


class RolloutPhaseInline(RecordedInline):
    model = RolloutPhase
    fields = ("percentage", "hours", "note", "position")


class GuardrailInline(RecordedInline):
    model = Guardrail
    form = GuardrailForm
    fields = (*GUARDRAIL_FIELDS, "position")


@admin.register(RolloutPlan)
class RolloutPlanAdmin(RecordedAdmin):
    subject = ChangeSubject.PLAN
    form = PlanForm
    list_display = ("key", "flag", "state_label", "progress", "phase_started_at", "description")
    list_filter = ("state",)
    search_fields = ("key", "description")
    readonly_fields = ("state_label", "progress", "phase_started_at")
    fields = ("key", "flag", "description", ("state_label", "progress", "phase_started_at"), "why")
    inlines = (RolloutPhaseInline, GuardrailInline)
    actions_detail = ("start", "pause", "resume", "step_back", "stop", "copy")

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        document = dict(form.cleaned_data)
        return document | {
            "flag": document["flag"].key if document["flag"] else None,
            "phases": [{name: row[name] for name in ("percentage", "hours", "note")} for row in rows["rolloutphase"]],
            "guardrails": [{name: row[name] for name in GUARDRAIL_FIELDS} for row in rows["guardrail"]],
        }

    @display(description=gettext_lazy("State"), label=STATE_COLORS)
    def state_label(self, plan: RolloutPlan) -> StateLabel:
        if plan.flag is None:
            return StateLabel("template", gettext("template"))
        return StateLabel(plan.state, plan.get_state_display())

    @display(description=gettext_lazy("Phase"))
    def progress(self, plan: RolloutPlan) -> str:
        phases = list(plan.phases.all()) if plan.pk else []
        percentages = ", ".join(significant(row.percentage, 6) for row in phases)
        if not plan.phase:
            return f"{percentages} %"
        text = gettext("{phase} of {count} ({percentages} %)")
        return text.format(phase=grouped(plan.phase), count=grouped(len(phases)), percentages=percentages)

    def has_release_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Allow the steps to flag releasers."""
        return bool(request.user.has_perm("flags.release_flag"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Return the actions that the plan's state allows."""
        plan = self.get_object(request, str(object_id))
        allowed = ACTIONS_BY_STATE["template" if plan is None or plan.flag is None else plan.state]
        actions = super().get_actions_detail(request, object_id)
        return [row for row in actions if row.method.original_function_name in allowed]

    def run_step(
        self, request: HttpRequest, form: Any, object_id: str, step: Callable[..., object], success_message: str
    ) -> HttpResponse:
        """Run one step of the plan and return to its page."""
        plan = self.get_visible_object(request, object_id)
        why = form.cleaned_data["why"]
        run_action(request, lambda: step(key=plan.key, actor=get_actor(request), why=why, now=now()), success_message)
        return redirect_from_dialog(self.object_url(plan))

    @action(
        description=gettext_lazy("Start"),
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Start the rollout?"),
            gettext_lazy("The flag is turned on at the first phase's percentage."),
            gettext_lazy("Start"),
        ),
    )
    def start(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Start the first phase."""
        return self.run_step(request, form, object_id, rollouts.start, gettext("Started."))

    @action(
        description=gettext_lazy("Pause"),
        icon="pause",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Pause the rollout?"), gettext_lazy("The flag stays at its percentage."), gettext_lazy("Pause")
        ),
    )
    def pause(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Pause the plan."""
        return self.run_step(request, form, object_id, rollouts.pause, gettext("Paused."))

    @action(
        description=gettext_lazy("Resume"),
        icon="resume",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Resume the rollout?"),
            gettext_lazy("The current phase restarts. A flag that is off is turned on."),
            gettext_lazy("Resume"),
        ),
    )
    def resume(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Resume the plan."""
        return self.run_step(request, form, object_id, rollouts.resume, gettext("Resumed."))

    @action(
        description=gettext_lazy("Step back"),
        icon="undo",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Step back to the previous phase?"),
            gettext_lazy("The time of that phase restarts."),
            gettext_lazy("Step back"),
        ),
    )
    def step_back(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Return to the previous phase."""
        return self.run_step(request, form, object_id, rollouts.step_back, gettext("Stepped back."))

    @action(
        description=gettext_lazy("Stop"),
        icon="stop",
        variant=ActionVariant.DANGER,
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Stop the rollout?"), gettext_lazy("The flag stays at its percentage."), gettext_lazy("Stop")
        ),
    )
    def stop(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Stop the plan."""
        return self.run_step(request, form, object_id, rollouts.stop, gettext("Stopped."))

    @action(
        description=gettext_lazy("Copy for a flag"),
        icon="content_copy",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Copy this plan for a flag"),
            gettext_lazy("The copy is a draft. Start it when you are ready."),
            gettext_lazy("Copy"),
            CopyTemplateForm,
        ),
    )
    def copy(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Copy the template as a draft for a flag."""
        plan = self.get_visible_object(request, object_id)
        options = {"template": plan.key, "flag": form.cleaned_data["flag"], "why": form.cleaned_data["why"]}
        copied = run_action(
            request, lambda: rollouts.copy_template(actor=get_actor(request), now=now(), **options), gettext("Copied.")
        )
        return redirect_from_dialog(
            self.object_url(copied) if copied else reverse("admin:flags_rolloutplan_changelist")
        )
