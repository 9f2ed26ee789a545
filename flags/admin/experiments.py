"""Experiments: drafts with their variants, the steps of their life as buttons, and the report of what came of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
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
from flags.experiments import metric_sources, plots, report
from flags.experiments.documents import ACTIVE_STATES, CHANGEABLE_WHILE_RUNNING
from flags.experiments.request_analysis import request_interim_analysis
from flags.models import ChangeSubject, ExclusionGroup, Experiment, ExperimentVariant, Flag, Holdout, Metric
from flags.services import experiments
from monitoring.clock import now

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
COLUMN_TITLES = ("Metric", "Variant", "Control", "Mean", "Lift", "Interval", "Chance", "Verdict")
VERDICT_LABELS = {
    "better": "better",
    "worse": "worse",
    "safe": "safe: no harm that matters",
    "inconclusive": "inconclusive",
}


class ExperimentForm(RecordedForm):
    hypothesis = forms.CharField(
        widget=UnfoldAdminTextareaWidget({"rows": 3}), help_text="What you expect to change, for whom, and why."
    )

    class Meta:
        model = Experiment
        fields = "__all__"


class ExperimentVariantForm(forms.ModelForm):
    value = forms.CharField(required=False, strip=False, initial="true", widget=UnfoldAdminTextInputWidget)
    config = forms.JSONField(
        required=False, initial=dict, widget=UnfoldAdminTextareaWidget({"rows": 1}), help_text="Settings, as JSON."
    )

    class Meta:
        model = ExperimentVariant
        fields = ("key", "weight", "is_control", "value", "config")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "value" in self.fields:
            self.initial["value"] = format_form_value(self.instance.experiment.flag.kind, self.instance.value)


class ExperimentVariantInline(RecordedInline):
    model = ExperimentVariant
    form = ExperimentVariantForm
    fields = ("key", "weight", "is_control", "value", "config")
    ordering_field = None
    verbose_name_plural = "Variants (weights are relative; one is the control)"

    def _can_change_parent(self, request: HttpRequest) -> bool:
        match = request.resolver_match
        pk = match.kwargs.get("object_id") if match else None
        is_draft = pk is None or Experiment.objects.filter(pk=pk, state=State.DRAFT).exists()
        return is_draft and super()._can_change_parent(request)


class WidenForm(WhyDialogForm):
    """Asks how many are to be in."""

    traffic_percentage = forms.FloatField(
        min_value=0, max_value=100, help_text="More than now; those who are in stay.", widget=UnfoldAdminTextInputWidget
    )


class NewPhaseForm(WhyDialogForm):
    """Asks for new weights."""

    weights = forms.CharField(
        help_text="Such as control=20, treatment=80: all of them.", widget=UnfoldAdminTextInputWidget
    )

    def clean_weights(self) -> dict[str, float]:
        """Return the weights by their variants."""
        try:
            pairs = (part.split("=") for part in self.cleaned_data["weights"].split(","))
            return {name.strip(): float(weight) for name, weight in pairs}
        except ValueError as error:
            raise forms.ValidationError("Write them as control=20, treatment=80.") from error


class FinishForm(WhyDialogForm):
    """Asks what was decided."""

    decision = forms.CharField(
        required=False, help_text="The key of the variant that won; empty: none.", widget=UnfoldAdminTextInputWidget
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
            "Who is in",
            {"fields": ("unit", "traffic_percentage", "is_sticky", "group", ("slot_from", "slot_to"), "holdout")},
        ),
        ("Bandit", {"classes": ("collapse",), "fields": ("is_bandit", "bandit_floor")}),
        (None, {"fields": ("why",)}),
    )
    inlines = (ExperimentVariantInline,)
    actions_detail = ("results", "start", "pause", "resume", "widen", "begin_phase", "finish")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        return super().get_queryset(request).prefetch_related("variants").annotate(exposure_count=Count("exposures"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Lock who gets what while it runs."""
        if obj is None or obj.state == State.DRAFT:
            return super().get_readonly_fields(request, obj)
        kept = CHANGEABLE_WHILE_RUNNING if obj.state in ACTIVE_STATES else frozenset[str]()
        return [name for name in (*PLAIN_FIELDS, *REFERENCE_FIELDS, "metrics") if name not in kept]

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        given = form.cleaned_data
        found = {name: given[name] for name in PLAIN_FIELDS if name in given}
        found |= {name: given[name].key if given[name] else None for name in REFERENCE_FIELDS if name in given}
        if "metrics" in given:
            found["metrics"] = sorted(metric.key for metric in given["metrics"])
        flag: Flag | None = given.get("flag") or getattr(form.instance, "flag", None)
        if flag is not None and (form.instance.pk is None or form.instance.state == State.DRAFT):
            found["variants"] = [variant_document(row, flag) for row in rows["experimentvariant"]]
        return found

    @display(description="State", label=STATE_COLORS)
    def state_label(self, experiment: Experiment) -> str:
        return experiment.get_state_display().lower()

    @display(description="Traffic")
    def traffic(self, experiment: Experiment) -> str:
        return f"{experiment.traffic_percentage:g} %"

    @display(description="Variants")
    def arms(self, experiment: Experiment) -> str:
        return ", ".join(f"{row.key} {row.weight:g}" for row in experiment.variants.all())

    @display(description="Units")
    def units(self, experiment: Any) -> str:
        return f"{experiment.exposure_count:,}"

    @display(description="Results")
    def report_link(self, experiment: Experiment) -> Any:
        return "" if experiment.state == State.DRAFT else link_html(self.report_url(experiment), "Report")

    def has_release_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Let releasers steer."""
        return bool(request.user.has_perm("flags.release_flag"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer what can be done with the experiment as it is."""
        row = self.get_object(request, str(object_id))
        wanted = ACTIONS_BY_STATE[State(row.state)] if row else set[str]()
        found = super().get_actions_detail(request, object_id)
        return [one for one in found if one.method.original_function_name in wanted]

    def run_step(
        self,
        request: HttpRequest,
        form: Any,
        object_id: str,
        step: Callable[..., object],
        success_message: str,
        **more: object,
    ) -> HttpResponse:
        """Take one step, and go back to the page."""
        row = self.get_visible_object(request, object_id)
        why = form.cleaned_data["why"]
        run_action(
            request, lambda: step(key=row.key, actor=get_actor(request), why=why, now=now(), **more), success_message
        )
        return redirect_from_dialog(self.object_url(row))

    @action(description="Results", icon="monitoring")
    def results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what came of it."""
        return HttpResponseRedirect(self.report_url(self.get_visible_object(request, object_id)))

    @action(
        description="Start",
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        permissions=["release"],
        dialog=action_dialog("Start the experiment?", "Who gets what is frozen from then on.", "Start"),
    )
    def start(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Begin."""
        return self.run_step(request, form, object_id, experiments.start, "Started.")

    @action(
        description="Pause",
        icon="pause",
        permissions=["release"],
        dialog=action_dialog("Pause the experiment?", "Everybody follows the flag until it is resumed.", "Pause"),
    )
    def pause(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Let everybody follow the flag."""
        return self.run_step(request, form, object_id, experiments.pause, "Paused.")

    @action(
        description="Resume",
        icon="resume",
        permissions=["release"],
        dialog=action_dialog("Resume the experiment?", "The same members get the same variants.", "Resume"),
    )
    def resume(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Go on."""
        return self.run_step(request, form, object_id, experiments.resume, "Resumed.")

    @action(
        description="Widen",
        icon="open_in_full",
        permissions=["release"],
        dialog=action_dialog("Take more members in?", "Those who are in keep their variants.", "Widen", WidenForm),
    )
    def widen(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Take more in."""
        wider = form.cleaned_data["traffic_percentage"]
        return self.run_step(request, form, object_id, experiments.widen, "Widened.", traffic_percentage=wider)

    @action(
        description="New phase",
        icon="restart_alt",
        permissions=["release"],
        dialog=action_dialog("Begin a phase with other weights?", "Results begin anew with it.", "Begin", NewPhaseForm),
    )
    def begin_phase(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Begin a new phase."""
        weights = form.cleaned_data["weights"]
        return self.run_step(request, form, object_id, experiments.begin_phase, "A new phase began.", weights=weights)

    @action(
        description="Finish",
        icon="flag",
        variant=ActionVariant.DANGER,
        permissions=["release"],
        dialog=action_dialog(
            "Finish the experiment?", "Everybody follows the flag: change that next.", "Finish", FinishForm
        ),
    )
    def finish(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """End it."""
        decision = form.cleaned_data["decision"].strip()
        return self.run_step(request, form, object_id, experiments.finish, "Finished.", decision=decision)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.report_view)
        return [path("<int:object_id>/results/", view, name="flags_experiment_results"), *super().get_urls()]

    def report_url(self, experiment: Experiment) -> str:
        """Return the address of the report."""
        return reverse("admin:flags_experiment_results", args=[experiment.pk])

    def report_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the report, give it as a file, or have the experiment looked at now."""
        row = self.get_visible_object(request, str(object_id))
        if request.method == "POST":
            request_interim_analysis(row.key)
            return HttpResponseRedirect(f"{self.report_url(row)}?requested_at={now().timestamp():.3f}")
        found = report.build_report(row)
        if request.GET.get("format") == "json":
            return JsonResponse(report.report_to_json(found))
        if request.GET.get("format") == "csv":
            name = f'attachment; filename="{row.key}.csv"'
            return HttpResponse(report.report_to_csv(found), "text/csv", headers={"Content-Disposition": name})
        context = self.page_context(request, row, f"Results of {row.key}") | report_context(found)
        is_pending = is_analysis_pending(request.GET.get("requested_at", ""), found.analyzed_at)
        context |= {"experiment_url": self.object_url(row), "is_analysis_pending": is_pending}
        return TemplateResponse(request, "flags/report.html", context)


def link_html(address: str, text: str) -> Any:
    """Return a link of a list."""
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, text)


def is_analysis_pending(requested_at: str, analyzed_at: datetime | None) -> bool:
    """Return whether a look that was asked for less than a minute ago is not there yet."""
    try:
        since = float(requested_at)
    except ValueError:
        return False
    return now().timestamp() - since < 60 and (analyzed_at is None or analyzed_at.timestamp() < since)


def variant_document(row: dict[str, Any], flag: Flag) -> dict[str, Any]:
    """Return a variant of the form as a document; a value that is none of the flag's kind is an error of its row."""
    value: object = None
    try:
        value = parse_value(flag.kind, row["value"])
    except forms.ValidationError as error:
        row["form"].add_error("value", error)
    plain = {name: row[name] for name in ("key", "weight", "is_control")}
    return plain | {"value": value, "config": row["config"] or {}}


def report_context(experiment_report: report.Report) -> dict[str, Any]:
    """Return what the page shows of a report."""
    all_units = [row for row in experiment_report.comparisons if not row.slice_label]
    groups = [
        ("Everybody", all_units),
        *((f"By {name}", rows) for name, rows in group_by_slice(experiment_report.comparisons).items()),
    ]
    return {
        "report": experiment_report,
        "minimum_effect": f"{experiment_report.minimum_effect:.1%}",
        "odds": f"{1 / max(experiment_report.sample_ratio_p, 1e-9):,.0f}",
        "column_titles": COLUMN_TITLES,
        "comparison_tables": [
            (title, [format_comparison(row) for row in rows], plots.build_forest_plot(rows)) for title, rows in groups
        ],
        "plots": [
            ("Goal lift by analysis", plots.build_lift_plot(experiment_report.lift_history)),
            ("Exposed units", plots.build_units_plot(experiment_report.daily_units)),
        ],
    }


def group_by_slice(comparisons: list[report.ComparisonRow]) -> dict[str, list[report.ComparisonRow]]:
    """Return the comparisons of slices, by what the slice is by."""
    found: dict[str, list[report.ComparisonRow]] = {}
    for line in comparisons:
        if line.slice_label:
            found.setdefault(line.slice_label.split("=")[0], []).append(line)
    return found


def format_comparison(comparison: report.ComparisonRow) -> dict[str, Any]:
    """Return a comparison as a person reads it."""
    numbers = comparison.numbers

    def percent(name: str) -> str:
        value = numbers[name]
        return "–" if value is None else f"{value:+.1%}"

    return {
        "metric": comparison.metric,
        "description": comparison.description,
        "is_goal": comparison.is_goal,
        "is_guardrail": comparison.is_guardrail,
        "slice_label": comparison.slice_label.partition("=")[2],
        "variant": comparison.variant,
        "control": f"{numbers['control_mean']:.4g}",
        "mean": f"{numbers['mean']:.4g}",
        "lift": percent("lift"),
        "interval": f"{percent('lift_low')} to {percent('lift_high')}" if numbers["lift"] is not None else "–",
        "chance_better": f"{numbers['chance_better']:.1%}",
        "verdict": VERDICT_LABELS[comparison.verdict],
    }


class MetricForm(forms.ModelForm):
    """Kinds of events as words, commas between."""

    numerator = forms.CharField(help_text="Kinds of events, such as like, share.", widget=UnfoldAdminTextInputWidget)
    denominator = forms.CharField(
        required=False, help_text="Of a ratio: kinds of events below the line.", widget=UnfoldAdminTextInputWidget
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
        if "source" in self.fields:
            self.fields["source"].widget.choices = [(name, name) for name in metric_sources.metric_source_names()]
        if self.instance.pk:
            for name in ("numerator", "denominator"):
                self.initial[name] = ", ".join(getattr(self.instance, name))

    def clean_numerator(self) -> list[str]:
        """Return the words."""
        return split_words(self.cleaned_data["numerator"])

    def clean_denominator(self) -> list[str]:
        """Return the words."""
        return split_words(self.cleaned_data["denominator"])


def split_words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


@admin.register(Metric)
class MetricAdmin(ModelAdmin):
    form = MetricForm
    list_display = ("key", "kind", "numerator", "denominator", "window_days", "is_guardrail", "description")
    list_filter = ("kind", "is_guardrail")
    search_fields = ("key", "description")


@admin.register(ExclusionGroup)
class ExclusionGroupAdmin(ModelAdmin):
    list_display = ("key", "description")
    search_fields = ("key",)


@admin.register(Holdout)
class HoldoutAdmin(ModelAdmin):
    list_display = ("key", "percentage", "description")
    search_fields = ("key",)
