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

from flags.admin.base import RecordedForm, RecordedPage, Rows, WhyForm, act, actor_of, dialog, leave
from flags.admin.values import text_of, value_of
from flags.documents import Document
from flags.experiments import plots, report, sources
from flags.experiments.asking import ask_for_look
from flags.experiments.documents import ALWAYS, OPEN
from flags.models import ExclusionGroup, Experiment, Flag, Holdout, Metric, Subject, Variant
from flags.services import experiments
from monitoring.clock import now

State = Experiment.State
STATES = {"draft": "info", "running": "success", "paused": "warning", "finished": "info"}
OFFERED = {
    State.DRAFT: {"start"},
    State.RUNNING: {"results", "pause", "widen", "rephase", "finish"},
    State.PAUSED: {"results", "resume", "widen", "rephase", "finish"},
    State.FINISHED: {"results"},
}
NAMED = ("flag", "group", "holdout", "goal")
PLAIN = (
    *("key", "hypothesis", "unit", "traffic_percentage", "slot_from", "slot_to", "is_sticky"),
    *("minimum_effect", "is_bandit", "bandit_floor"),
)
HEADS = ("Metric", "Variant", "Control", "Mean", "Lift", "Interval", "Chance", "Verdict")
VERDICTS = {"better": "better", "worse": "worse", "safe": "safe: no harm that matters", "open": "open"}


class ExperimentForm(RecordedForm):
    hypothesis = forms.CharField(
        widget=UnfoldAdminTextareaWidget({"rows": 3}), help_text="What you expect to change, for whom, and why."
    )

    class Meta:
        model = Experiment
        fields = "__all__"


class VariantForm(forms.ModelForm):
    value = forms.CharField(required=False, strip=False, initial="true", widget=UnfoldAdminTextInputWidget)
    config = forms.JSONField(
        required=False, initial=dict, widget=UnfoldAdminTextareaWidget({"rows": 1}), help_text="Settings, as JSON."
    )

    class Meta:
        model = Variant
        fields = ("key", "weight", "is_control", "value", "config")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "value" in self.fields:
            self.initial["value"] = text_of(self.instance.experiment.flag.kind, self.instance.value)


class VariantRows(Rows):
    model = Variant
    form = VariantForm
    fields = ("key", "weight", "is_control", "value", "config")
    ordering_field = None
    verbose_name_plural = "Variants (weights are relative; one is the control)"

    def _may(self, request: HttpRequest) -> bool:
        match = request.resolver_match
        pk = match.kwargs.get("object_id") if match else None
        is_draft = pk is None or Experiment.objects.filter(pk=pk, state=State.DRAFT).exists()
        return is_draft and super()._may(request)


class WidenForm(WhyForm):
    """Asks how many are to be in."""

    traffic_percentage = forms.FloatField(
        min_value=0, max_value=100, help_text="More than now; those who are in stay.", widget=UnfoldAdminTextInputWidget
    )


class RephaseForm(WhyForm):
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


class FinishForm(WhyForm):
    """Asks what was decided."""

    decision = forms.CharField(
        required=False, help_text="The key of the variant that won; empty: none.", widget=UnfoldAdminTextInputWidget
    )


@admin.register(Experiment)
class ExperimentAdmin(RecordedPage):
    subject = Subject.EXPERIMENT
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
    inlines = (VariantRows,)
    actions_detail = ("results", "start", "pause", "resume", "widen", "rephase", "finish")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        return super().get_queryset(request).prefetch_related("variants").annotate(exposed=Count("exposures"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Lock who gets what while it runs."""
        if obj is None or obj.state == State.DRAFT:
            return super().get_readonly_fields(request, obj)
        kept = ALWAYS if obj.state in OPEN else frozenset[str]()
        return [name for name in (*PLAIN, *NAMED, "metrics") if name not in kept]

    def document_of(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        given = form.cleaned_data
        found = {name: given[name] for name in PLAIN if name in given}
        found |= {name: given[name].key if given[name] else None for name in NAMED if name in given}
        if "metrics" in given:
            found["metrics"] = sorted(metric.key for metric in given["metrics"])
        flag: Flag | None = given.get("flag") or getattr(form.instance, "flag", None)
        if flag is not None and (form.instance.pk is None or form.instance.state == State.DRAFT):
            found["variants"] = [variant_of(row, flag) for row in rows["variant"]]
        return found

    @display(description="State", label=STATES)
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
        return f"{experiment.exposed:,}"

    @display(description="Results")
    def report_link(self, experiment: Experiment) -> Any:
        return "" if experiment.state == State.DRAFT else link_to(self.report_address(experiment), "Report")

    def has_steer_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Let releasers steer."""
        return bool(request.user.has_perm("flags.release_flag"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer what can be done with the experiment as it is."""
        row = self.get_object(request, str(object_id))
        wanted = OFFERED[State(row.state)] if row else set[str]()
        found = super().get_actions_detail(request, object_id)
        return [one for one in found if one.method.original_function_name in wanted]

    def steer(
        self, request: HttpRequest, form: Any, object_id: str, do: Callable[..., object], done: str, **more: object
    ) -> HttpResponse:
        """Take one step, and go back to the page."""
        row = self.existing(request, object_id)
        why = form.cleaned_data["why"]
        act(request, lambda: do(key=row.key, actor=actor_of(request), why=why, now=now(), **more), done)
        return leave(self.address_of(row))

    @action(description="Results", icon="monitoring")
    def results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what came of it."""
        return HttpResponseRedirect(self.report_address(self.existing(request, object_id)))

    @action(
        description="Start",
        icon="play_arrow",
        variant=ActionVariant.PRIMARY,
        permissions=["steer"],
        dialog=dialog("Start the experiment?", "Who gets what is frozen from then on.", "Start"),
    )
    def start(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Begin."""
        return self.steer(request, form, object_id, experiments.start, "Started.")

    @action(
        description="Pause",
        icon="pause",
        permissions=["steer"],
        dialog=dialog("Pause the experiment?", "Everybody follows the flag until it is resumed.", "Pause"),
    )
    def pause(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Let everybody follow the flag."""
        return self.steer(request, form, object_id, experiments.pause, "Paused.")

    @action(
        description="Resume",
        icon="resume",
        permissions=["steer"],
        dialog=dialog("Resume the experiment?", "The same members get the same variants.", "Resume"),
    )
    def resume(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Go on."""
        return self.steer(request, form, object_id, experiments.resume, "Resumed.")

    @action(
        description="Widen",
        icon="open_in_full",
        permissions=["steer"],
        dialog=dialog("Take more members in?", "Those who are in keep their variants.", "Widen", WidenForm),
    )
    def widen(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Take more in."""
        wider = form.cleaned_data["traffic_percentage"]
        return self.steer(request, form, object_id, experiments.widen, "Widened.", traffic_percentage=wider)

    @action(
        description="New phase",
        icon="restart_alt",
        permissions=["steer"],
        dialog=dialog("Begin a phase with other weights?", "Results begin anew with it.", "Begin", RephaseForm),
    )
    def rephase(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Begin a new phase."""
        weights = form.cleaned_data["weights"]
        return self.steer(request, form, object_id, experiments.rephase, "A new phase began.", weights=weights)

    @action(
        description="Finish",
        icon="flag",
        variant=ActionVariant.DANGER,
        permissions=["steer"],
        dialog=dialog("Finish the experiment?", "Everybody follows the flag: change that next.", "Finish", FinishForm),
    )
    def finish(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """End it."""
        decision = form.cleaned_data["decision"].strip()
        return self.steer(request, form, object_id, experiments.finish, "Finished.", decision=decision)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.report_view)
        return [path("<int:object_id>/results/", view, name="flags_experiment_results"), *super().get_urls()]

    def report_address(self, row: Experiment) -> str:
        """Return the address of the report."""
        return reverse("admin:flags_experiment_results", args=[row.pk])

    def report_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the report, give it as a file, or have the experiment looked at now."""
        row = self.existing(request, str(object_id))
        if request.method == "POST":
            ask_for_look(row.key)
            return HttpResponseRedirect(f"{self.report_address(row)}?asked={now().timestamp():.3f}")
        found = report.report_of(row)
        if request.GET.get("format") == "json":
            return JsonResponse(report.as_json(found))
        if request.GET.get("format") == "csv":
            name = f'attachment; filename="{row.key}.csv"'
            return HttpResponse(report.as_csv(found), "text/csv", headers={"Content-Disposition": name})
        context = self.page_context(request, row, f"Results of {row.key}") | report_context(found)
        waits = is_awaited(request.GET.get("asked", ""), found.made_at)
        context |= {"address": self.address_of(row), "waits": waits}
        return TemplateResponse(request, "flags/report.html", context)


def link_to(address: str, text: str) -> Any:
    """Return a link of a list."""
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, text)


def is_awaited(asked: str, made_at: datetime | None) -> bool:
    """Return whether a look that was asked for less than a minute ago is not there yet."""
    try:
        since = float(asked)
    except ValueError:
        return False
    return now().timestamp() - since < 60 and (made_at is None or made_at.timestamp() < since)


def variant_of(row: dict[str, Any], flag: Flag) -> dict[str, Any]:
    """Return a variant of the form as a document; a value that is none of the flag's kind is an error of its row."""
    value: object = None
    try:
        value = value_of(flag.kind, row["value"])
    except forms.ValidationError as error:
        row["form"].add_error("value", error)
    plain = {name: row[name] for name in ("key", "weight", "is_control")}
    return plain | {"value": value, "config": row["config"] or {}}


def report_context(found: report.Report) -> dict[str, Any]:
    """Return what the page shows of a report."""
    whole = [line for line in found.lines if not line.segment]
    parts = [("Everybody", whole), *((f"By {kind}", lines) for kind, lines in by_kind(found.lines).items())]
    return {
        "report": found,
        "effect": f"{found.minimum_effect:.1%}",
        "odds": f"{1 / max(found.sample_ratio_p, 1e-9):,.0f}",
        "heads": HEADS,
        "parts": [(title, [shown(line) for line in lines], plots.forest(lines)) for title, lines in parts],
        "plots": [
            ("The goal's lift, look by look", plots.over_looks(found.looks)),
            ("Units that are in", plots.over_days(found.daily_units)),
        ],
    }


def by_kind(lines: list[report.Line]) -> dict[str, list[report.Line]]:
    """Return the comparisons of slices, by what the slice is by."""
    found: dict[str, list[report.Line]] = {}
    for line in lines:
        if line.segment:
            found.setdefault(line.segment.split("=")[0], []).append(line)
    return found


def shown(line: report.Line) -> dict[str, Any]:
    """Return a comparison as a person reads it."""
    numbers = line.numbers

    def percent(name: str) -> str:
        value = numbers[name]
        return "–" if value is None else f"{value:+.1%}"

    return {
        "metric": line.metric,
        "description": line.description,
        "is_goal": line.is_goal,
        "is_guardrail": line.is_guardrail,
        "segment": line.segment.partition("=")[2],
        "variant": line.variant,
        "control": f"{numbers['control_mean']:.4g}",
        "mean": f"{numbers['mean']:.4g}",
        "lift": percent("lift"),
        "interval": f"{percent('lift_low')} to {percent('lift_high')}" if numbers["lift"] is not None else "–",
        "chance": f"{numbers['chance']:.1%}",
        "verdict": VERDICTS[line.verdict],
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
            self.fields["source"].widget.choices = [(name, name) for name in sources.names()]
        if self.instance.pk:
            for name in ("numerator", "denominator"):
                self.initial[name] = ", ".join(getattr(self.instance, name))

    def clean_numerator(self) -> list[str]:
        """Return the words."""
        return words(self.cleaned_data["numerator"])

    def clean_denominator(self) -> list[str]:
        """Return the words."""
        return words(self.cleaned_data["denominator"])


def words(text: str) -> list[str]:
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
