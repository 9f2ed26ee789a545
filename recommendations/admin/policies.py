"""Ranking policies. A version that exists is not edited: it is copied, the copy is changed, and made active."""

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
        fixed = ("version", "differences_to_previous", "differences_to_active", "is_active", "created_at")
        return (*fixed, "variant", "settings", "note") if obj else fixed

    @admin.display(description="Changed")
    def changed_settings(self, policy: RankingPolicy) -> str:
        """Name the settings that this version changed."""
        before = find_previous_version(policy)
        return ", ".join(name for name, *_ in compare_settings(before, policy)) if before else ""

    @admin.display(description="Against the version before")
    def differences_to_previous(self, policy: RankingPolicy) -> str:
        """Tell what this version changed."""
        before = find_previous_version(policy)
        return render_differences(before, policy) if before else "The first version of this variant."

    @admin.display(description="Against the version that is served")
    def differences_to_active(self, policy: RankingPolicy) -> str:
        """Tell what serving this version would change."""
        served = RankingPolicy.objects.filter(variant=policy.variant, is_active=True).exclude(pk=policy.pk).first()
        return render_differences(served, policy) if served else "This is the one, or none is."

    def save_model(self, request: HttpRequest, obj: RankingPolicy, form: Any, change: bool) -> None:
        if change:  # a version is not edited
            return
        made = policies.create_policy_version(variant=obj.variant, settings=obj.settings, note=obj.note)
        obj.pk, obj.version, obj.created_at = made.pk, made.version, made.created_at

    @admin.action(description="Serve this version", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Make the chosen versions active, one a variant."""
        chosen = list(queryset)
        if len({policy.variant for policy in chosen}) < len(chosen):
            self.message_user(request, "Choose one version of a variant: only one is served.", messages.ERROR)
            return
        for policy in chosen:
            policies.activate_policy(policy)
        self.message_user(request, f"Served now: {', '.join(map(str, chosen))}.", messages.SUCCESS)

    @admin.action(description="Copy as a new version and serve it", permissions=["add"])
    def copy_as_active(self, request: HttpRequest, queryset: QuerySet[RankingPolicy]) -> None:
        """Go back to an old version without rewriting what was served when."""
        try:
            with transaction.atomic():
                copies = [policies.copy_version(old) for old in queryset]
                for policy in copies:
                    policies.activate_policy(policy)
        except InvalidRequest as error:  # an old value that today's range no longer allows
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(request, f"Served now: {', '.join(map(str, copies))}.", messages.SUCCESS)


def find_previous_version(policy: RankingPolicy) -> RankingPolicy | None:
    """Return the version that came before this one."""
    return RankingPolicy.objects.filter(variant=policy.variant, version__lt=policy.version).first()


def compare_settings(before: RankingPolicy, after: RankingPolicy) -> list[tuple[str, object, object]]:
    """Return name, earlier and later value of each setting that differs; one that is not named is neutral."""
    one, other = (asdict(Policy.from_stored(policy.settings)) for policy in (before, after))
    return [(name, one[name], other[name]) for name in one if one[name] != other[name]]


def render_differences(before: RankingPolicy, after: RankingPolicy) -> str:
    """Return the differences for a person to read."""
    rows = compare_settings(before, after)
    if not rows:
        return f"The same settings as {before}."
    head = format_html("<tr><th>setting</th><th>{}</th><th>{}</th></tr>", f"v{before.version}", f"v{after.version}")
    lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td><b>{}</b></td></tr>", rows)
    return format_html('<table style="border-spacing: 1rem .2rem; text-align: left">{}{}</table>', head, lines)
