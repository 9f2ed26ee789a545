"""Members, their privacy settings and their relationships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from unfold.admin import StackedInline

from monitoring.clock import now
from monitoring.row_forms import UnchangedRowForm
from recommendations.admin.base import BaseAdmin, TrackedAdmin
from recommendations.models import Member, PrivacySettings, Relationship
from recommendations.services.content import publish
from recommendations.stores.row_locks import lock_members


class PrivacySettingsInline(StackedInline):  # type: ignore[misc]
    model = PrivacySettings
    form = UnchangedRowForm
    exclude = ("changed_at",)
    can_delete = False


@admin.register(Member)
class MemberAdmin(TrackedAdmin):
    list_display = ("external_id", "languages", "region", "is_adult", "is_active", "is_private_account", "created_at")
    list_filter = ("is_active", "is_adult", "privacy__is_private", "privacy__is_personalized")
    list_select_related = ("privacy",)
    search_fields = ("^external_id",)
    search_help_text = "First characters of the id"
    readonly_fields = ("changed_at",)
    inlines = (PrivacySettingsInline,)
    actions = ("activate", "deactivate")

    @admin.display(boolean=True, description="private")
    def is_private_account(self, member: Member) -> bool:
        """Return whether the account is private. Without privacy settings it is."""
        return member.privacy.is_private if hasattr(member, "privacy") else True

    def lock_row(self, obj: Member) -> None:
        lock_members([obj.pk])

    def affected_member_ids(self, obj: Member) -> Sequence[int]:
        return (obj.pk,)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": now()} | super().get_changeform_initial_data(request)

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        """Activate these members."""
        self.update_active(request, members, is_active=True)

    @admin.action(description="Deactivate: no feed, posts hidden", permissions=["change"])
    def deactivate(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        """Deactivate these members."""
        self.update_active(request, members, is_active=False)

    def update_active(self, request: HttpRequest, members: QuerySet[Member], *, is_active: bool) -> None:
        """Set `is_active` and report the number of members."""
        ids = list(members.values_list("pk", flat=True))
        publish.set_members_active(member_ids=ids, is_active=is_active, now=now())
        self.message_user(request, f"{len(ids)} {'activated' if is_active else 'deactivated'}.", messages.SUCCESS)


@admin.register(PrivacySettings)
class PrivacySettingsAdmin(TrackedAdmin):
    list_display = ("member", "is_private", "is_personalized", "sensitivity", "changed_at")
    list_filter = ("is_private", "is_personalized", "sensitivity")
    list_select_related = ("member",)
    search_fields = ("^member__external_id",)
    search_help_text = "First characters of the member's id"
    autocomplete_fields = ("member",)
    readonly_fields = ("changed_at",)

    def lock_row(self, obj: PrivacySettings) -> None:
        lock_members([obj.member_id])

    def affected_member_ids(self, obj: PrivacySettings) -> Sequence[int]:
        return (obj.member_id,)


@admin.register(Relationship)
class RelationshipAdmin(BaseAdmin):
    list_display = ("source", "kind", "target", "created_at")
    list_filter = ("kind",)
    list_select_related = ("source", "target")
    search_fields = ("^source__external_id", "^target__external_id")
    search_help_text = "First characters of either member's id"
    autocomplete_fields = ("source", "target")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # Relationships can be deleted, because every request reads them again.
        return request.user.has_perm("recommendations.delete_relationship")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": now()} | super().get_changeform_initial_data(request)

    def lock_row(self, obj: Relationship) -> None:
        lock_members([obj.source_id, obj.target_id])

    def save_model(self, request: HttpRequest, obj: Relationship, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        publish.mark_changed(member_ids=(obj.source_id, obj.target_id), now=now())

    def delete_model(self, request: HttpRequest, obj: Relationship) -> None:
        super().delete_model(request, obj)
        publish.mark_changed(member_ids=(obj.source_id, obj.target_id), now=now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Relationship]) -> None:
        member_ids = {pk for pair in queryset.values_list("source_id", "target_id") for pk in pair}
        super().delete_queryset(request, queryset)
        publish.mark_changed(member_ids=sorted(member_ids), now=now())
