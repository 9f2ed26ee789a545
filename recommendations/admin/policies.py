"""
Ranking policies. An existing version cannot be edited: the form for a new version starts from one, and previews feeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from access.scopes import STAFF_PERMISSIONS, Scope
from monitoring.clock import now
from monitoring.number_texts import significant
from recommendations.admin.base import BaseAdmin
from recommendations.admin.formatting import html_link, html_table
from recommendations.admin.policy_form import SETTING_GROUPS, PolicyForm, initial_values, label_setting
from recommendations.contracts import Policy
from recommendations.models import RankingPolicy
from recommendations.services import policies
from recommendations.services.errors import InvalidRequest
from recommendations.services.serving.policy_preview import MAX_PREVIEWS, preview_policy


@admin.register(RankingPolicy)
class RankingPolicyAdmin(BaseAdmin):
    form = PolicyForm
    change_form_after_template = "recommendations/policy_editor.html"
    list_display = ("variant", "version", "is_active", "note", "changed_settings", "created_at")
    list_filter = ("variant", "is_active")
    search_fields = ("^variant", "note")
    stored_fields = (
        "variant",
        "version",
        "new_version",
        "differences_to_previous",
        "differences_to_active",
        "all_settings",
        "note",
        "is_active",
        "created_at",
    )
    actions = ("activate", "copy_as_active")

    class Media:
        js = (Script("recommendations/policy-editor.js", type="module"),)
        css = {"all": ("recommendations/policy-editor.css",)}

    def has_change_permission(self, request: HttpRequest, obj: RankingPolicy | None = None) -> bool:
        return obj is None and super().has_change_permission(request)  # versions are activated, never edited

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview_view)
        return [path("preview/", view, name="recommendations_rankingpolicy_preview"), *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        if obj:
            return [(None, {"fields": self.stored_fields})]
        groups = [(gettext(title), {"fields": names, "classes": ["tab"]}) for title, names in SETTING_GROUPS.items()]
        return [(None, {"fields": ("variant", "note", "activate", "started_from")}), *groups]

    def get_readonly_fields(self, request: HttpRequest, obj: RankingPolicy | None = None) -> Sequence[str]:
        return self.stored_fields if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values of the version in the parameter `from`, or of the active control version."""
        start = RankingPolicy.objects.filter(pk=to_key(request.GET.get("from", ""))).first()
        return initial_values(start or RankingPolicy.objects.filter(variant="control", is_active=True).first())

    @admin.display(description="")
    def new_version(self, policy: RankingPolicy) -> SafeString:
        """Return a link to the form for a version that starts from this one."""
        url = reverse("admin:recommendations_rankingpolicy_add")
        return html_link(f"{url}?from={policy.pk}", gettext("Make a new version from this one"))

    @admin.display(description=gettext_lazy("Settings"))
    def all_settings(self, policy: RankingPolicy) -> SafeString:
        """Return the settings with their values and help texts."""
        values, known = asdict(Policy.from_stored(policy.settings)), {f.name: f for f in fields(Policy)}
        return html_table(
            (gettext("Setting"), gettext("Value"), gettext("What it does")),
            (
                (label_setting(name), significant(values[name], 6), gettext(known[name].metadata["range"].help))
                for names in SETTING_GROUPS.values()
                for name in names
            ),
        )

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Return feeds of a few members as they are ranked now, and with the values of the form."""
        needed = STAFF_PERMISSIONS[Scope.FEEDS_READ]
        if not (self.has_add_permission(request) and request.user.has_perm(needed)):
            raise PermissionDenied
        form = PolicyForm(request.POST)
        form.is_valid()
        errors = [
            (form.fields[name].label, message)
            for name, messages_of_field in form.errors.items()
            if name in SETTING_NAMES or name == "variant"
            for message in messages_of_field
        ]
        names = [name.strip() for name in request.POST.get("preview_members", "").split(",") if name.strip()]
        context: dict[str, Any] = {"errors": errors}
        if not errors:
            policy = Policy.from_settings(form.settings())
            context["previews"] = preview_policy(
                policy, variant=form.cleaned_data["variant"], member_ids=names[:MAX_PREVIEWS], now=now()
            )
            context["differences"] = list_differences(form.cleaned_data["variant"], policy)
        return render(request, "recommendations/policy_preview.html", context)

    @admin.display(description=gettext_lazy("Changed settings"))
    def changed_settings(self, policy: RankingPolicy) -> str:
        """Return the names of the settings that differ from the previous version."""
        previous = find_previous_version(policy)
        return ", ".join(name for name, *_ in compare_versions(previous, policy)) if previous else ""

    @admin.display(description=gettext_lazy("Differences to the previous version"))
    def differences_to_previous(self, policy: RankingPolicy) -> str:
        """Return the differences between the previous version and this one."""
        previous = find_previous_version(policy)
        return (
            render_differences(previous, policy) if previous else gettext("This is the first version of the variant.")
        )

    @admin.display(description=gettext_lazy("Differences to the active version"))
    def differences_to_active(self, policy: RankingPolicy) -> str:
        """Return the differences between the active version and this one."""
        active = RankingPolicy.objects.filter(variant=policy.variant, is_active=True).exclude(pk=policy.pk).first()
        return render_differences(active, policy) if active else gettext("No other version is active.")

    def save_model(self, request: HttpRequest, obj: RankingPolicy, form: Any, change: bool) -> None:
        created = policies.create_policy_version(variant=obj.variant, settings=form.settings(), note=obj.note)
        obj.pk, obj.version, obj.created_at = created.pk, created.version, created.created_at
        if form.cleaned_data["activate"]:
            policies.activate_policy(created)

    @admin.action(description=gettext_lazy("Activate this version"), permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Activate the selected versions, at most one per variant."""
        selected = list(queryset)
        if len({policy.variant for policy in selected}) < len(selected):
            self.message_user(
                request, gettext("Select one version per variant. Only one can be active."), messages.ERROR
            )
            return
        for policy in selected:
            policies.activate_policy(policy)
        self.message_user(request, describe_activated(selected), messages.SUCCESS)

    @admin.action(description=gettext_lazy("Copy as a new version and activate it"), permissions=["add"])
    def copy_as_active(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Activate copies of old versions. The history of versions stays unchanged."""
        try:
            copies = policies.activate_copies(list(queryset))
        except InvalidRequest as error:  # an old value outside the current range of its setting
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, describe_activated(copies), messages.SUCCESS)


def describe_activated(versions: Iterable[RankingPolicy]) -> str:
    """Return the message after versions were activated."""
    return gettext("Activated {versions}.").format(versions=", ".join(map(str, versions)))


SETTING_NAMES = {name for names in SETTING_GROUPS.values() for name in names}


def to_key(text: str) -> int:
    """Return a primary key from a query parameter; 0 for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def list_differences(variant: str, policy: Policy) -> list[tuple[str, object, object]]:
    """Return the label and both values of each setting in which *policy* differs from the active version."""
    active = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
    served = Policy.from_stored(active.settings) if active else Policy()
    return [(label_setting(name), before, after) for name, before, after in compare_settings(served, policy)]


def find_previous_version(policy: RankingPolicy) -> RankingPolicy | None:
    """Return the previous version of the same variant, or None."""
    return RankingPolicy.objects.filter(variant=policy.variant, version__lt=policy.version).first()


def compare_versions(before: RankingPolicy, after: RankingPolicy) -> list[tuple[str, object, object]]:
    """Return the name and both values of each setting that differs. A missing setting has its neutral value."""
    return compare_settings(Policy.from_stored(before.settings), Policy.from_stored(after.settings))


def compare_settings(before: Policy, after: Policy) -> list[tuple[str, object, object]]:
    """Return the name and both values of each setting that differs."""
    old, new = asdict(before), asdict(after)
    return [(name, old[name], new[name]) for name in old if old[name] != new[name]]


def render_differences(before: RankingPolicy, after: RankingPolicy) -> str:
    """Return the differences as an HTML table."""
    rows = compare_versions(before, after)
    if not rows:
        return gettext("No differences to {version}.").format(version=before)
    return html_table((gettext("Setting"), f"v{before.version}", f"v{after.version}"), rows)
