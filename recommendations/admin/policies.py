"""Ranking policies. An existing version cannot be edited. Create a new version and activate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from recommendations.admin.base import BaseAdmin
from recommendations.contracts import Policy
from recommendations.models import RankingPolicy
from recommendations.services import policies
from recommendations.services.errors import InvalidRequest


@admin.register(RankingPolicy)
class RankingPolicyAdmin(BaseAdmin):
    list_display = ("variant", "version", "is_active", "note", "changed_settings", "created_at")
    list_filter = ("variant", "is_active")
    search_fields = ("^variant", "note")
    fields = (
        "variant",
        "version",
        "differences_to_previous",
        "differences_to_active",
        "settings",
        "note",
        "is_active",
        "created_at",
    )
    actions = ("activate", "copy_as_active")

    def get_readonly_fields(self, request: HttpRequest, obj: RankingPolicy | None = None) -> Sequence[str]:
        read_only = ("version", "differences_to_previous", "differences_to_active", "is_active", "created_at")
        return (*read_only, "variant", "settings", "note") if obj else read_only

    @admin.display(description="Changed settings")
    def changed_settings(self, policy: RankingPolicy) -> str:
        """Return the names of the settings that differ from the previous version."""
        previous = find_previous_version(policy)
        return ", ".join(name for name, *_ in compare_settings(previous, policy)) if previous else ""

    @admin.display(description="Differences to the previous version")
    def differences_to_previous(self, policy: RankingPolicy) -> str:
        """Return the differences between the previous version and this one."""
        previous = find_previous_version(policy)
        return render_differences(previous, policy) if previous else "This is the first version of the variant."

    @admin.display(description="Differences to the active version")
    def differences_to_active(self, policy: RankingPolicy) -> str:
        """Return the differences between the active version and this one."""
        active = RankingPolicy.objects.filter(variant=policy.variant, is_active=True).exclude(pk=policy.pk).first()
        return render_differences(active, policy) if active else "No other version is active."

    def save_model(self, request: HttpRequest, obj: RankingPolicy, form: Any, change: bool) -> None:
        if change:  # existing versions are immutable
            return
        created = policies.create_policy_version(variant=obj.variant, settings=obj.settings, note=obj.note)
        obj.pk, obj.version, obj.created_at = created.pk, created.version, created.created_at

    @admin.action(description="Activate this version", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Activate the selected versions, at most one per variant."""
        selected = list(queryset)
        if len({policy.variant for policy in selected}) < len(selected):
            self.message_user(request, "Select one version per variant. Only one can be active.", messages.ERROR)
            return
        for policy in selected:
            policies.activate_policy(policy)
        self.message_user(request, f"Activated {', '.join(map(str, selected))}.", messages.SUCCESS)

    @admin.action(description="Copy as a new version and activate it", permissions=["add"])
    def copy_as_active(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Activate copies of old versions. The history of versions stays unchanged."""
        try:
            with transaction.atomic():
                copies = [policies.copy_version(version) for version in queryset]
                for policy in copies:
                    policies.activate_policy(policy)
        except InvalidRequest as error:  # an old value outside the current range of its setting
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"Activated {', '.join(map(str, copies))}.", messages.SUCCESS)


def find_previous_version(policy: RankingPolicy) -> RankingPolicy | None:
    """Return the previous version of the same variant, or None."""
    return RankingPolicy.objects.filter(variant=policy.variant, version__lt=policy.version).first()


def compare_settings(before: RankingPolicy, after: RankingPolicy) -> list[tuple[str, object, object]]:
    """Return the name and both values of each setting that differs. A missing setting has its default."""
    old, new = (asdict(Policy.from_stored(policy.settings)) for policy in (before, after))
    return [(name, old[name], new[name]) for name in old if old[name] != new[name]]


def render_differences(before: RankingPolicy, after: RankingPolicy) -> str:
    """Return the differences as an HTML table."""
    rows = compare_settings(before, after)
    if not rows:
        return f"No differences to {before}."
    head = format_html("<tr><th>setting</th><th>{}</th><th>{}</th></tr>", f"v{before.version}", f"v{after.version}")
    lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td><b>{}</b></td></tr>", rows)
    return format_html('<table style="border-spacing: 1rem .2rem; text-align: left">{}{}</table>', head, lines)
