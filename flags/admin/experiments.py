"""Admin of experiments: drafts with their variants, lifecycle steps as actions, and the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

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
from flags.admin.values import format_form_value, parse_value
from flags.documents import Document
from flags.experiments import findings, metric_sources, plots, report
from flags.experiments.documents import ACTIVE_STATES, CHANGEABLE_WHILE_RUNNING
from flags.experiments.request_analysis import request_interim_analysis
from flags.models import (
    ChangeSubject,
    ExclusionGroup,
    Experiment,
    ExperimentVariant,
    Flag,
    FlagChange,
    Holdout,
    Metric,
)
from flags.services import experiments
from monitoring.admin_columns import StateLabel, percentage
from monitoring.clock import now
from monitoring.number_texts import UNKNOWN, grouped, percent, significant
from monitoring.row_forms import NamedFieldsForm, UnchangedRowAdmin, UnchangedRowForm
from values.json_text import StrictDecoder

State = Experiment.State
STATE_COLORS = {"draft": "info", "running": "success", "paused": "warning", "finished": "info"}
ACTIONS_BY_STATE = {
    State.DRAFT: {"start"},
    State.RUNNING: {"results", "pause", "widen", "begin_phase", "finish"},
    State.PAUSED: {"results", "resume", "widen", "begin_phase", "finish"},
    State.FINISHED: {"results"},
}
REFERENCE_FIELDS = ("flag", "group", "holdout", "goal")
PLAIN_FIELDS = (
    *("key", "hypothesis", "unit", "traffic_percentage", "slot_from", "slot_to", "is_sticky"),
    *("minimum_effect", "is_bandit", "bandit_floor"),
)
COLUMN_TITLES = (
    gettext_lazy("Metric"),
    gettext_lazy("Variant"),
    gettext_lazy("Control"),
    gettext_lazy("Mean"),
    gettext_lazy("Lift"),
    gettext_lazy("Interval"),
    gettext_lazy("Chance better"),
    gettext_lazy("Verdict"),
)
SHOWN_CHANGES = 20
"""The newest entries of the record on the results page."""
VERDICT_LABELS = {
    "better": gettext_lazy("better"),
    "worse": gettext_lazy("worse"),
    "safe": gettext_lazy("safe: no relevant harm"),
    "inconclusive": gettext_lazy("inconclusive"),
}


class ExperimentForm(RecordedForm):
    hypothesis = forms.CharField(
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text=gettext_lazy("What you expect to change, for whom, and why."),
    )

    class Meta:
        model = Experiment
        fields = "__all__"


class ExperimentVariantForm(NamedFieldsForm):
    value = forms.CharField(required=False, strip=False, initial="true", widget=UnfoldAdminTextInputWidget)
    config = forms.JSONField(
        required=False,
        initial=dict,
        decoder=StrictDecoder,
        widget=UnfoldAdminTextareaWidget({"rows": 1}),
        help_text=gettext_lazy("Settings as JSON."),
    )

    class Meta:
        model = ExperimentVariant
        fields = ("key", "weight", "is_control", "value", "config")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["value"] = format_form_value(self.instance.experiment.flag.kind, self.instance.value)


class ExperimentVariantInline(RecordedInline):
    model = ExperimentVariant
    form = ExperimentVariantForm
    fields = ("key", "weight", "is_control", "value", "config")
    ordering_field = None
    verbose_name_plural = gettext_lazy("Variants (weights are relative; exactly one variant is the control)")

    def _can_change_parent(self, request: HttpRequest) -> bool:
        match = request.resolver_match
        pk = match.kwargs.get("object_id") if match else None
        is_draft = pk is None or Experiment.objects.filter(pk=pk, state=State.DRAFT).exists()
        return is_draft and super()._can_change_parent(request)


class WidenForm(WhyDialogForm):
    """Asks for the new traffic percentage."""

    traffic_percentage = forms.FloatField(
        label=gettext_lazy("Traffic percentage"),
        min_value=0,
        max_value=100,
        help_text=gettext_lazy("Above the current one. No member leaves."),
        widget=UnfoldAdminTextInputWidget,
    )


class NewPhaseForm(WhyDialogForm):
    """Asks for new weights."""

    weights = forms.CharField(
        label=gettext_lazy("Weights"),
        help_text=gettext_lazy("A weight for each variant, such as control=20, treatment=80."),
        widget=UnfoldAdminTextInputWidget,
    )

    def clean_weights(self) -> dict[str, float]:
        """Return the weights by variant."""
        try:
            pairs = (part.split("=") for part in self.cleaned_data["weights"].split(","))
            return {name.strip(): float(weight) for name, weight in pairs}
        except ValueError as error:
            raise forms.ValidationError(gettext("Write the weights as control=20, treatment=80.")) from error


class FinishForm(WhyDialogForm):
    """Asks for the decision."""

    decision = forms.CharField(
        label=gettext_lazy("Decision"),
        required=False,
        help_text=gettext_lazy("Key of the winning variant; empty: no decision."),
        widget=UnfoldAdminTextInputWidget,
    )


@admin.register(Experiment)
class ExperimentAdmin(RecordedAdmin):
    subject = ChangeSubject.EXPERIMENT
    form = ExperimentForm
    list_display = ("key", "flag", "state_label", "traffic", "arms", "goal", "units", "report_link")
    list_filter = ("state", "flag", "is_bandit")
    search_fields = ("key", "hypothesis", "flag__key")
    list_select_related = ("flag", "goal")
    autocomplete_fields = ("metrics",)
    fieldsets = (
        (None, {"fields": ("key", "flag", "hypothesis", "goal", "metrics", "minimum_effect")}),
        (
            gettext_lazy("Assignment"),
            {"fields": ("unit", "traffic_percentage", "is_sticky", "group", ("slot_from", "slot_to"), "holdout")},
        ),
        (gettext_lazy("Bandit"), {"classes": ("collapse",), "fields": ("is_bandit", "bandit_floor")}),
        (None, {"fields": ("why",)}),
    )
    inlines = (ExperimentVariantInline,)
    actions_detail = ("results", "start", "pause", "resume", "widen", "begin_phase", "finish")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        return super().get_queryset(request).prefetch_related("variants").annotate(exposure_count=Count("exposures"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Lock the fields that affect assignment while the experiment runs."""
        if obj is None or obj.state == State.DRAFT:
            return super().get_readonly_fields(request, obj)
        editable = CHANGEABLE_WHILE_RUNNING if obj.state in ACTIVE_STATES else frozenset[str]()
        return [name for name in (*PLAIN_FIELDS, *REFERENCE_FIELDS, "metrics") if name not in editable]

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        cleaned = form.cleaned_data
        document = {name: cleaned[name] for name in PLAIN_FIELDS if name in cleaned}
        document |= {name: cleaned[name].key if cleaned[name] else None for name in REFERENCE_FIELDS if name in cleaned}
        if "metrics" in cleaned:
            document["metrics"] = sorted(metric.key for metric in cleaned["metrics"])
        flag: Flag | None = cleaned.get("flag") or getattr(form.instance, "flag", None)
        if flag is not None and (form.instance.pk is None or form.instance.state == State.DRAFT):
            document["variants"] = [variant_document(row, flag) for row in rows["experimentvariant"]]
        return document

    @display(description=gettext_lazy("State"), label=STATE_COLORS)
    def state_label(self, experiment: Experiment) -> StateLabel:
        return StateLabel(experiment.state, experiment.get_state_display())

    @display(description=gettext_lazy("Traffic"))
    def traffic(self, experiment: Experiment) -> str:
        return f"{significant(experiment.traffic_percentage, 6)} %"

    @display(description=gettext_lazy("Variants"))
    def arms(self, experiment: Experiment) -> str:
        return ", ".join(f"{row.key} {significant(row.weight, 6)}" for row in experiment.variants.all())

    @display(description=gettext_lazy("Units"))
    def units(self, experiment: Any) -> str:
        return grouped(experiment.exposure_count)

    @display(description=gettext_lazy("Results"))
    def report_link(self, experiment: Experiment) -> Any:
        return "" if experiment.state == State.DRAFT else link_html(self.report_url(experiment), gettext("Report"))

    def has_release_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Allow the steps to flag releasers."""
        return bool(request.user.has_perm("flags.release_flag"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Return the actions that the experiment's state allows."""
        row = self.get_object(request, str(object_id))
        allowed = ACTIONS_BY_STATE[State(row.state)] if row else set[str]()
        actions = super().get_actions_detail(request, object_id)
        return [row for row in actions if row.method.original_function_name in allowed]

    def run_step(
        self,
        request: HttpRequest,
        form: Any,
        object_id: str,
        step: Callable[..., object],
        success_message: str,
        **options: object,
    ) -> HttpResponse:
        """Run one step and return to the experiment's page."""
        row = self.get_visible_object(request, object_id)
        why = form.cleaned_data["why"]
        run_action(
            request, lambda: step(key=row.key, actor=get_actor(request), why=why, now=now(), **options), success_message
        )
        return redirect_from_dialog(self.object_url(row))

    @action(description=gettext_lazy("Results"), icon="monitoring", permissions=["view"])
    def results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the report or download it as CSV or JSON. POST requests an analysis."""
        row = self.get_visible_object(request, object_id)
        if request.method == "POST" and self.has_change_permission(request, row):
            request_interim_analysis(row.key)
            return HttpResponseRedirect(f"{self.report_url(row)}?requested_at={now().timestamp():.3f}")
        results = report.build_report(row)
        if request.GET.get("format") == "json":
            return JsonResponse(report.report_to_json(results))
        if request.GET.get("format") == "csv":
            name = f'attachment; filename="{row.key}.csv"'
            return HttpResponse(report.report_to_csv(results), "text/csv", headers={"Content-Disposition": name})
        context = self.page_context(request, row, gettext("Results of {key}").format(key=row.key)) | report_context(
            results
        )
        if request.user.has_perm("flags.view_flagchange"):
            changes = FlagChange.objects.filter(subject=self.subject, key=row.key).select_related("user", "approved_by")
            context["changes"] = changes[:SHOWN_CHANGES]
        is_pending = is_analysis_pending(request.GET.get("requested_at", ""), results.analyzed_at)
        context |= {"experiment_url": self.object_url(row), "is_analysis_pending": is_pending}
        return TemplateResponse(request, "flags/report.html", context)

    @action(
        description=gettext_lazy("Start"),
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Start the experiment?"),
            gettext_lazy("The assignment is frozen from then on."),
            gettext_lazy("Start"),
        ),
    )
    def start(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Start the first phase."""
        return self.run_step(request, form, object_id, experiments.start, gettext("Started."))

    @action(
        description=gettext_lazy("Pause"),
        icon="pause",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Pause the experiment?"),
            gettext_lazy("All members follow the flag until it is resumed."),
            gettext_lazy("Pause"),
        ),
    )
    def pause(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Pause the experiment."""
        return self.run_step(request, form, object_id, experiments.pause, gettext("Paused."))

    @action(
        description=gettext_lazy("Resume"),
        icon="resume",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Resume the experiment?"),
            gettext_lazy("The same members get the same variants."),
            gettext_lazy("Resume"),
        ),
    )
    def resume(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Resume the experiment."""
        return self.run_step(request, form, object_id, experiments.resume, gettext("Resumed."))

    @action(
        description=gettext_lazy("Widen"),
        icon="open_in_full",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Raise the traffic percentage?"),
            gettext_lazy("Members in the experiment keep their variants."),
            gettext_lazy("Widen"),
            WidenForm,
        ),
    )
    def widen(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Raise the traffic percentage."""
        percentage = form.cleaned_data["traffic_percentage"]
        return self.run_step(
            request, form, object_id, experiments.widen, gettext("Widened."), traffic_percentage=percentage
        )

    @action(
        description=gettext_lazy("New phase"),
        icon="restart_alt",
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Begin a phase with other weights?"),
            gettext_lazy("Results restart with the new phase."),
            gettext_lazy("Begin"),
            NewPhaseForm,
        ),
    )
    def begin_phase(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Begin a phase with new weights."""
        weights = form.cleaned_data["weights"]
        return self.run_step(
            request, form, object_id, experiments.begin_phase, gettext("A new phase began."), weights=weights
        )

    @action(
        description=gettext_lazy("Finish"),
        icon="flag",
        variant=ActionVariant.DANGER,
        permissions=["release"],
        dialog=action_dialog(
            gettext_lazy("Finish the experiment?"),
            gettext_lazy("All members then follow the flag. Change the flag next."),
            gettext_lazy("Finish"),
            FinishForm,
        ),
    )
    def finish(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Finish the experiment with a decision."""
        decision = form.cleaned_data["decision"].strip()
        return self.run_step(request, form, object_id, experiments.finish, gettext("Finished."), decision=decision)

    def report_url(self, experiment: Experiment) -> str:
        """Return the URL of the report."""
        return reverse("admin:flags_experiment_results", args=[experiment.pk])


def link_html(url: str, text: str) -> Any:
    """Return an HTML link."""
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


def is_analysis_pending(requested_at: str, analyzed_at: datetime | None) -> bool:
    """Return whether an analysis was requested less than a minute ago and is not saved yet."""
    try:
        since = float(requested_at)
    except ValueError:
        return False
    return now().timestamp() - since < 60 and (analyzed_at is None or analyzed_at.timestamp() < since)


def variant_document(row: dict[str, Any], flag: Flag) -> dict[str, Any]:
    """Return the form row of a variant as a document. A value that does not fit the flag's kind is a form error."""
    value: object = None
    try:
        value = parse_value(flag.kind, row["value"])
    except forms.ValidationError as error:
        row["form"].add_error("value", error)
    plain = {name: row[name] for name in ("key", "weight", "is_control")}
    return plain | {"value": value, "config": row["config"] or {}}


def report_context(experiment_report: report.Report) -> dict[str, Any]:
    """Return the template context of the report."""
    all_units = [row for row in experiment_report.comparisons if not row.slice_label]
    groups = [
        (gettext("All units"), all_units),
        *(
            (gettext("By {name}").format(name=name), rows)
            for name, rows in group_by_slice(experiment_report.comparisons).items()
        ),
    ]
    return {
        "report": experiment_report,
        "sentence": findings.summarize(experiment_report),
        "health": findings.check_health(experiment_report),
        "power": findings.estimate_power(experiment_report),
        "guardrails": findings.check_guardrails(experiment_report.comparisons),
        "minimum_effect": percent(experiment_report.minimum_effect),
        "state_label": gettext(experiment_report.state),
        "odds": grouped(round(1 / max(experiment_report.sample_ratio_p, 1e-9))),
        "column_titles": COLUMN_TITLES,
        "comparison_tables": [
            (title, [format_comparison(row) for row in rows], plots.build_forest_plot(rows)) for title, rows in groups
        ],
        "plots": [
            (
                gettext("Cumulative lift of the goal with its band, by analysis"),
                plots.build_lift_plot(experiment_report.lift_history),
            ),
            (gettext("Exposed units"), plots.build_units_plot(experiment_report.daily_units)),
        ],
    }


def group_by_slice(comparisons: list[report.ComparisonRow]) -> dict[str, list[report.ComparisonRow]]:
    """Return the comparisons of slices, by slice name, such as language."""
    groups: dict[str, list[report.ComparisonRow]] = {}
    for row in comparisons:
        if row.slice_label:
            groups.setdefault(row.slice_label.split("=")[0], []).append(row)
    return groups


def format_comparison(comparison: report.ComparisonRow) -> dict[str, Any]:
    """Return the display texts of a comparison."""
    numbers = comparison.numbers

    def lift(name: str) -> str:
        value = numbers[name]
        return UNKNOWN if value is None else plots.format_lift(value)

    return {
        "metric": comparison.metric,
        "description": comparison.description,
        "is_goal": comparison.is_goal,
        "is_guardrail": comparison.is_guardrail,
        "slice_label": comparison.slice_label.partition("=")[2],
        "variant": comparison.variant,
        "control": significant(numbers["control_mean"]),
        "mean": significant(numbers["mean"]),
        "lift": lift("lift"),
        "interval": gettext("{low} to {high}").format(low=lift("lift_low"), high=lift("lift_high"))
        if numbers["lift"] is not None
        else UNKNOWN,
        "chance_better": percent(numbers["chance_better"]),
        "verdict": VERDICT_LABELS[comparison.verdict],
    }


class MetricForm(UnchangedRowForm):
    """A metric form with kinds of events as comma-separated text."""

    numerator = forms.CharField(
        help_text=gettext_lazy("Kinds of events to count, such as like, share."), widget=UnfoldAdminTextInputWidget
    )
    denominator = forms.CharField(
        required=False,
        help_text=gettext_lazy("For a ratio: kinds of events in the denominator."),
        widget=UnfoldAdminTextInputWidget,
    )
    source = forms.CharField(widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Metric
        fields = (
            "key",
            "description",
            "kind",
            "source",
            "numerator",
            "denominator",
            "window_days",
            "prior_days",
            "higher_is_better",
            "is_guardrail",
            "tolerance",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["source"].widget.choices = [(name, name) for name in metric_sources.metric_source_names()]  # type: ignore[attr-defined]
        if self.instance.pk:
            for name in ("numerator", "denominator"):
                self.initial[name] = ", ".join(getattr(self.instance, name))

    def clean_numerator(self) -> list[str]:
        """Return the kinds of events as a list."""
        return split_words(self.cleaned_data["numerator"])

    def clean_denominator(self) -> list[str]:
        """Return the kinds of events as a list."""
        return split_words(self.cleaned_data["denominator"])


def split_words(text: str) -> list[str]:
    """Return the comma-separated words."""
    return [word.strip() for word in text.split(",") if word.strip()]


@admin.register(Metric)
class MetricAdmin(UnchangedRowAdmin):
    form = MetricForm
    list_display = ("key", "kind", "numerator", "denominator", "window_days", "is_guardrail", "description")
    list_filter = ("kind", "is_guardrail")
    search_fields = ("key", "description")


@admin.register(ExclusionGroup)
class ExclusionGroupAdmin(UnchangedRowAdmin):
    list_display = ("key", "description")
    search_fields = ("key",)


@admin.register(Holdout)
class HoldoutAdmin(UnchangedRowAdmin):
    list_display = ("key", percentage("percentage"), "description")
    search_fields = ("key",)
