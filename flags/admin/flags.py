"""Admin of flags: list, form, emergency switch, playground, YAML export and import."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy, ngettext
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from flags import attributes, payload
from flags.admin.base import (
    WHY_HELP,
    WHY_LABEL,
    RecordedAdmin,
    RecordedForm,
    RecordedInline,
    action_dialog,
    get_actor,
    redirect_from_dialog,
    run_action,
)
from flags.admin.values import format_form_value, parse_value
from flags.documents import Document
from flags.models import ChangeSubject, Flag, FlagVariant, Prerequisite, Rule
from flags.services import transfer
from flags.services.change import apply_change
from flags.services.errors import FlagError, InvalidChangeError, error_lines
from flags.services.explain import explain
from flags.services.kill import kill_flag
from flags.services.stale_flags import stale_reason
from flags.written_values import parse_written
from monitoring.admin_columns import StateLabel
from monitoring.clock import now
from monitoring.number_texts import grouped, significant, with_count
from monitoring.row_forms import NamedFieldsForm
from values.problems import InvalidValueError

VALUE_FIELDS = ("on_value", "default_value", "off_value")
STATE_COLORS = {"on": "success", "off": "danger", "scheduled": "info", "archived": "warning"}


class FlagForm(RecordedForm):
    on_value = forms.CharField(required=False, strip=False, initial="true", widget=UnfoldAdminTextInputWidget)
    default_value = forms.CharField(required=False, strip=False, initial="false", widget=UnfoldAdminTextInputWidget)
    off_value = forms.CharField(required=False, strip=False, initial="false", widget=UnfoldAdminTextInputWidget)
    tags = forms.CharField(
        required=False,
        help_text=gettext_lazy("Tags for finding flags, separated by commas."),
        widget=UnfoldAdminTextInputWidget,
    )

    class Meta:
        model = Flag
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in VALUE_FIELDS:
            self.fields[name].help_text = Flag._meta.get_field(name).help_text  # type: ignore[union-attr]
        if self.instance.pk:
            for name in VALUE_FIELDS:
                self.initial[name] = format_form_value(self.instance.kind, getattr(self.instance, name))
            self.initial["tags"] = ", ".join(self.instance.tags)


class FlagVariantForm(NamedFieldsForm):
    value = forms.CharField(required=False, strip=False, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = FlagVariant
        fields = ("name", "value", "weight", "position")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["value"] = format_form_value(self.instance.flag.kind, self.instance.value)


class PrerequisiteForm(NamedFieldsForm):
    value = forms.CharField(required=False, strip=False, initial="true", widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Prerequisite
        fields = ("required_flag", "value")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["value"] = format_form_value(self.instance.required_flag.kind, self.instance.value)


class FlagVariantInline(RecordedInline):
    model = FlagVariant
    form = FlagVariantForm
    fields = ("name", "value", "weight", "position")
    verbose_name_plural = gettext_lazy("Variants (values, distributed by weight among the members who get the flag)")


class RuleInline(RecordedInline):
    model = Rule
    fields = ("segment", "percentage", "serves", "note", "position")
    verbose_name_plural = gettext_lazy("Rules (evaluated in this order, before the rollout; the first match decides)")


class PrerequisiteInline(RecordedInline):
    model = Prerequisite
    form = PrerequisiteForm
    fk_name = "flag"
    fields = ("required_flag", "value")
    ordering_field = None
    verbose_name_plural = gettext_lazy("Prerequisites (other flags that must have the given value for the member)")


class ArchivedFilter(admin.SimpleListFilter):
    title = gettext_lazy("archived")
    parameter_name = "archived"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", gettext("archived flags"))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Flag]) -> QuerySet[Flag]:
        return rows.filter(is_archived=self.value() == "yes")


class StaleFilter(admin.SimpleListFilter):
    title = gettext_lazy("stale")
    parameter_name = "stale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", gettext("stale flags"))]

    def queryset(self, request: HttpRequest, rows: QuerySet[Flag]) -> QuerySet[Flag]:
        if self.value() != "yes":
            return rows
        moment = now()
        return rows.filter(pk__in=[flag.pk for flag in rows if stale_reason(flag, moment)])


class PlaygroundForm(forms.Form):
    flag = forms.CharField(label=gettext_lazy("Flag"), widget=UnfoldAdminSelectWidget)
    unit_id = forms.CharField(
        label=gettext_lazy("Member"),
        max_length=128,
        help_text=gettext_lazy("The member's id."),
        widget=UnfoldAdminTextInputWidget,
    )
    assumed_attributes = forms.CharField(
        label=gettext_lazy("Assumed attributes"),
        required=False,
        help_text=gettext_lazy(
            "Attributes to assume, one per line, such as region=DE. The others are looked up for the member."
        ),
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = Flag.objects.filter(is_archived=False).values_list("key", "key")
        self.fields["flag"].widget.choices = list(keys)  # type: ignore[attr-defined]

    def clean_assumed_attributes(self) -> dict[str, object]:
        """Return the lines as attributes; a value with commas is a list."""
        assumed: dict[str, object] = {}
        for line in self.cleaned_data["assumed_attributes"].splitlines():
            name, sign, value = line.partition("=")
            if line.strip() and not sign:
                raise forms.ValidationError(
                    gettext("Write each line as name=value, not {line}.").format(line=repr(line))
                )
            if line.strip():
                assumed[name.strip()] = parse_attribute(name.strip(), value)
        return assumed


def parse_attribute(name: str, text: str) -> object:
    """Return the written value of an attribute; one with commas is a list. Raises `ValidationError`."""
    is_text = attributes.is_text_attribute(name)
    try:
        values = [parse_written(part, is_text=is_text) for part in text.split(",")]
    except InvalidValueError as error:
        raise forms.ValidationError(f"{name}: {error.translate(gettext)}") from error
    return values if len(values) > 1 else values[0]


class ImportForm(forms.Form):
    text = forms.CharField(
        label="YAML",
        help_text=gettext_lazy("An export of flags. Objects that it does not contain stay as they are."),
        widget=UnfoldAdminTextareaWidget({"rows": 16}),
    )
    dry_run = forms.BooleanField(
        required=False,
        initial=True,
        label=gettext_lazy("Dry run (save nothing)"),
        widget=UnfoldBooleanSwitchWidget,
    )
    why = forms.CharField(label=WHY_LABEL, help_text=WHY_HELP, widget=UnfoldAdminTextInputWidget)


@admin.register(Flag)
class FlagAdmin(RecordedAdmin):
    subject = ChangeSubject.FLAG
    form = FlagForm
    list_display = ("name", "state", "traffic", "rule_count", "owner", "changed_at", "advice")
    list_filter = ("is_enabled", "kind", "needs_approval", StaleFilter, ArchivedFilter)
    search_fields = ("key", "description", "owner", "tags")
    inlines = (FlagVariantInline, RuleInline, PrerequisiteInline)
    fieldsets = (
        (None, {"fields": ("key", "description", ("is_enabled", "rollout_percentage"), "why")}),
        (gettext_lazy("Values"), {"fields": ("kind", VALUE_FIELDS), "classes": ("tab",)}),
        (gettext_lazy("Schedule"), {"fields": (("starts_at", "ends_at"),), "classes": ("tab",)}),
        (
            gettext_lazy("Housekeeping"),
            {"fields": (("owner", "tags"), "expires_at", "needs_approval"), "classes": ("tab",)},
        ),
    )
    actions_list = ("playground", "export_yaml", "import_yaml")
    actions_row = ("turn_off_row",)
    actions_detail = ("turn_off", "archive")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flag]:
        return super().get_queryset(request).annotate(rule_total=Count("rules"))

    @display(description=gettext_lazy("Flag"), ordering="key", header=True)
    def name(self, flag: Flag) -> list[str]:
        return [flag.key, flag.description]

    @display(description=gettext_lazy("State"), label=STATE_COLORS)
    def state(self, flag: Flag) -> StateLabel:
        if flag.is_archived:
            return StateLabel("archived", gettext("archived"))
        if not flag.is_enabled:
            return StateLabel("off", gettext("off"))
        if payload.is_in_schedule(flag, now()):
            return StateLabel("on", gettext("on"))
        return StateLabel("scheduled", gettext("scheduled"))

    @display(description=gettext_lazy("Traffic"), ordering="rollout_percentage")
    def traffic(self, flag: Flag) -> str:
        share = flag.rollout_percentage if flag.is_enabled else 0
        return format_html(
            '<div class="flex items-center gap-2">'
            '<meter class="traffic" aria-hidden="true" min="0" max="100" value="{}"></meter>'
            '<span class="whitespace-nowrap">{} %</span></div>',
            share,
            significant(flag.rollout_percentage, 6),
        )

    @display(description=gettext_lazy("Rules"))
    def rule_count(self, flag: Any) -> str:
        return grouped(flag.rule_total) if flag.rule_total else ""

    @display(description=gettext_lazy("Advice"))
    def advice(self, flag: Flag) -> str:
        return stale_reason(flag, now())

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        document = dict(form.cleaned_data)
        kind = document["kind"]
        document["tags"] = [word.strip() for word in document["tags"].split(",") if word.strip()]
        for name in VALUE_FIELDS:
            try:
                document[name] = parse_value(kind, document[name])
            except forms.ValidationError as error:
                form.add_error(name, error)
        return document | {
            "variants": [
                {"name": row["name"], "value": parse_row_value(row, kind), "weight": row["weight"]}
                for row in rows["flagvariant"]
            ],
            "rules": [
                {
                    "segment": row["segment"].key if row["segment"] else None,
                    "percentage": row["percentage"],
                    "serves": row["serves"],
                    "note": row["note"],
                }
                for row in rows["rule"]
            ],
            "prerequisites": [
                {"flag": row["required_flag"].key, "value": parse_row_value(row, row["required_flag"].kind)}
                for row in rows["prerequisite"]
            ],
        }

    def has_turn_off_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Allow editors and releasers to turn a flag off: in an emergency, approval would take too long."""
        return bool(request.user.has_perm("flags.change_flag") or request.user.has_perm("flags.release_flag"))

    @action(
        description=gettext_lazy("Turn off"),
        icon="power_settings_new",
        variant=ActionVariant.DANGER,
        permissions=["turn_off"],
        dialog=action_dialog(
            gettext_lazy("Turn the flag off for all members?"),
            gettext_lazy("Every process applies the change within 2 seconds."),
            gettext_lazy("Turn off now"),
        ),
    )
    def turn_off(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Turn the flag off."""
        flag = self.get_visible_object(request, object_id)
        why = form.cleaned_data["why"]
        run_action(
            request,
            lambda: kill_flag(key=flag.key, actor=get_actor(request), why=why, now=now()),
            gettext("{key} is off.").format(key=flag.key),
        )
        return redirect_from_dialog(self.object_url(flag))

    @action(
        description=gettext_lazy("Turn off"),
        url_path="turn-off-row",
        permissions=["turn_off"],
        dialog=action_dialog(
            gettext_lazy("Turn the flag off for all members?"),
            gettext_lazy("Every process applies the change within 2 seconds."),
            gettext_lazy("Turn off now"),
        ),
    )
    def turn_off_row(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Turn the flag off from the list."""
        flag = self.get_visible_object(request, object_id)
        why = form.cleaned_data["why"]
        run_action(
            request,
            lambda: kill_flag(key=flag.key, actor=get_actor(request), why=why, now=now()),
            gettext("{key} is off.").format(key=flag.key),
        )
        return redirect_from_dialog(reverse("admin:flags_flag_changelist"))

    @action(
        description=gettext_lazy("Archive"),
        icon="archive",
        permissions=["change"],
        dialog=action_dialog(
            gettext_lazy("Archive the flag?"),
            gettext_lazy("Code that still uses the flag gets its own default. The change history stays."),
            gettext_lazy("Archive"),
        ),
    )
    def archive(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Archive the flag."""
        flag = self.get_visible_object(request, object_id)

        def archive_flag() -> object:
            patch = {"is_archived": True}
            why = form.cleaned_data["why"]
            return apply_change(
                key=flag.key, patch=patch, actor=get_actor(request), why=why, now=now(), action="archived"
            )

        run_action(request, archive_flag, gettext("{key} is archived.").format(key=flag.key))
        return redirect_from_dialog(reverse("admin:flags_flag_changelist"))

    @action(description=gettext_lazy("Playground"), icon="science", permissions=["view"])
    def playground(self, request: HttpRequest) -> TemplateResponse:
        """Explain a flag's value for a member."""
        form = PlaygroundForm(request.GET if "unit_id" in request.GET else None)
        explanation = None
        if form.is_valid():
            query = form.cleaned_data
            try:
                explanation = explain(
                    key=query["flag"],
                    unit_id=query["unit_id"],
                    given_attributes=query["assumed_attributes"],
                    now=now(),
                )
            except FlagError as error:
                form.add_error("flag", str(error))
        context = self.page_context(request, None, gettext("Playground")) | {
            "form": form,
            "method": "get",
            "submit_label": gettext("Explain"),
            "intro": gettext("See which value a member gets from a flag, and why."),
            "explanation": explanation,
            "value": format_form_value("", explanation.value) if explanation else "",
            "known_attributes": attributes.describe_attributes(),
        }
        return TemplateResponse(request, "flags/form.html", context)

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Allow the export to users who may see everything in it."""
        return bool(request.user.has_perms(["flags.view_flag", "flags.view_segment", "flags.view_rolloutplan"]))

    @action(description=gettext_lazy("Export YAML"), url_path="export-yaml", icon="download", permissions=["export"])
    def export_yaml(self, request: HttpRequest) -> HttpResponse:
        """Download all flags, segments and templates as YAML."""
        headers = {"Content-Disposition": 'attachment; filename="flags.yaml"'}
        return HttpResponse(transfer.export_yaml(), content_type="application/yaml", headers=headers)

    @action(description=gettext_lazy("Import YAML"), url_path="import-yaml", icon="upload", permissions=["change"])
    def import_yaml(self, request: HttpRequest) -> HttpResponse:
        """Create or change the objects in a YAML text. A dry run only shows the outcomes."""
        form = ImportForm(request.POST or None)
        outcomes: list[transfer.ImportOutcome] = []
        if form.is_valid():
            options = form.cleaned_data
            try:
                outcomes = transfer.import_yaml(actor=get_actor(request), now=now(), **options)
            except InvalidChangeError as error:
                for line in error_lines(error.detail):
                    form.add_error("text", line)
            if outcomes and not options["dry_run"]:
                count = len(outcomes)
                text = ngettext("Imported {n} document.", "Imported {n} documents.", count)
                self.message_user(request, with_count(text, count))
                return HttpResponseRedirect(reverse("admin:flags_flag_changelist"))
        intro = gettext("Import flags, segments and plan templates from a YAML export.")
        context = self.page_context(request, None, gettext("Import YAML")) | {
            "form": form,
            "submit_label": gettext("Import"),
            "intro": intro,
            "import_outcomes": outcomes,
        }
        return TemplateResponse(request, "flags/form.html", context)


def parse_row_value(row: dict[str, Any], kind: str) -> object:
    """Return the row's value. If it is invalid, add the error to the row's form and return None."""
    try:
        return parse_value(kind, row["value"])
    except forms.ValidationError as error:
        row["form"].add_error("value", error)
        return None
