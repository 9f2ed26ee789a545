"""Members, their privacy settings and their relationships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, ngettext
from unfold.admin import StackedInline

from monitoring.admin_columns import identifier
from monitoring.clock import now
from monitoring.number_texts import with_count
from monitoring.row_forms import UnchangedRowForm
from recommendations.admin.base import BaseAdmin, TrackedAdmin
from recommendations.admin.typed_forms import MemberForm, PrivacySettingsForm
from recommendations.models import Member, PrivacySettings, Relationship
from recommendations.services.content import publish
from recommendations.services.learning.store_relationships import (
    FOLLOW,
    FOLLOW_KINDS,
    FOLLOW_REQUEST,
    approve_requests_of_open_accounts,
    blocked_pairs,
    end_relationships,
    find_open_accounts,
    find_pairs,
    make_follows,
    store_relationships,
)
from recommendations.stores.bulk import Column
from recommendations.stores.row_locks import lock_members

BIRTH_YEAR = identifier("birth_year", gettext_lazy("birth year"))


class PrivacySettingsInline(StackedInline):  # type: ignore[misc]
    model = PrivacySettings
    form = PrivacySettingsForm
    exclude = ("changed_at",)
    can_delete = False


@admin.register(Member)
class MemberAdmin(TrackedAdmin):
    form = MemberForm
    list_display = ("external_id", "languages", "region", "is_adult", "is_active", "is_private_account", "created_at")
    list_filter = ("is_active", "is_adult", "privacy__is_private", "privacy__is_personalized")
    list_select_related = ("privacy",)
    search_fields = ("^external_id",)
    search_help_text = gettext_lazy("First characters of the id")
    readonly_fields = ("changed_at",)
    inlines = (PrivacySettingsInline,)
    actions = ("activate", "deactivate")

    @admin.display(boolean=True, description=gettext_lazy("private"))
    def is_private_account(self, member: Member) -> bool:
        """Return whether the account is private. Without privacy settings it is."""
        return member.privacy.is_private if hasattr(member, "privacy") else True

    def get_readonly_fields(self, request: HttpRequest, obj: Member | None = None) -> tuple[Any, ...]:
        return (*super().get_readonly_fields(request, obj), BIRTH_YEAR)

    def get_fields(self, request: HttpRequest, obj: Member | None = None) -> list[Any]:
        """Return the fields. Where none can be changed, the year of birth is written as a year."""
        year = "birth_year" if self.has_change_permission(request, obj) else BIRTH_YEAR
        names = [name for name in super().get_fields(request, obj) if name != BIRTH_YEAR]
        return [year if name == "birth_year" else name for name in names]

    def lock_row(self, obj: Member) -> None:
        lock_members([obj.pk])

    def affected_member_ids(self, obj: Member) -> Sequence[int]:
        return (obj.pk,)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        approve_requests_of_open_accounts([form.instance.pk])

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": now()} | super().get_changeform_initial_data(request)

    @admin.action(description=gettext_lazy("Activate"), permissions=["change"])
    def activate(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        """Activate these members."""
        self.update_active(request, members, is_active=True)

    @admin.action(description=gettext_lazy("Deactivate: no feed, posts hidden"), permissions=["change"])
    def deactivate(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        """Deactivate these members."""
        self.update_active(request, members, is_active=False)

    def update_active(self, request: HttpRequest, members: QuerySet[Member], *, is_active: bool) -> None:
        """Set `is_active` and report the number of members."""
        ids = list(members.values_list("pk", flat=True))
        publish.set_members_active(member_ids=ids, is_active=is_active, now=now())
        count = len(ids)
        text = ngettext("{n} member deactivated.", "{n} members deactivated.", count)
        if is_active:
            text = ngettext("{n} member activated.", "{n} members activated.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)


@admin.register(PrivacySettings)
class PrivacySettingsAdmin(TrackedAdmin):
    form = PrivacySettingsForm
    list_display = ("member", "is_private", "is_personalized", "sensitivity", "changed_at")
    list_filter = ("is_private", "is_personalized", "sensitivity")
    list_select_related = ("member",)
    search_fields = ("^member__external_id",)
    search_help_text = gettext_lazy("First characters of the member's id")
    autocomplete_fields = ("member",)
    readonly_fields = ("changed_at",)

    def lock_row(self, obj: PrivacySettings) -> None:
        lock_members([obj.member_id])

    def affected_member_ids(self, obj: PrivacySettings) -> Sequence[int]:
        return (obj.member_id,)

    def save_model(self, request: HttpRequest, obj: PrivacySettings, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        approve_requests_of_open_accounts([obj.member_id])


class RelationshipForm(UnchangedRowForm):
    """A new relationship. Staff act for the platform, so a follow needs no request, unless the kind is a request."""

    def clean(self) -> dict[str, Any]:
        """Reject a follow or request across a block, which would not be stored, and an unneeded request."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if {"source", "target", "kind"} <= set(values) and values["kind"] in FOLLOW_KINDS:
            source, target = values["source"].pk, values["target"].pk
            if (source, target) in blocked_pairs([source]):
                raise ValidationError(gettext("One of the two members blocks the other."))
            if values["kind"] == FOLLOW_REQUEST and (
                find_open_accounts([target]) or find_pairs(FOLLOW, [(source, target)])
            ):
                raise ValidationError(gettext("This follow needs no request. Add a follow."))
        return values


@admin.register(Relationship)
class RelationshipAdmin(BaseAdmin):
    form = RelationshipForm
    list_display = ("source", "kind", "target", "created_at")
    list_filter = ("kind",)
    list_select_related = ("source", "target")
    search_fields = ("^source__external_id", "^target__external_id")
    search_help_text = gettext_lazy("First characters of either member's id")
    autocomplete_fields = ("source", "target")
    actions = ("approve_requests", "decline_requests")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # A follow does not become a block: delete the relationship and add another.
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # Relationships can be deleted, because every request reads them again.
        return request.user.has_perm("recommendations.delete_relationship")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": now()} | super().get_changeform_initial_data(request)

    def lock_row(self, obj: Relationship) -> None:
        lock_members([obj.source_id, obj.target_id])

    def save_model(self, request: HttpRequest, obj: Relationship, form: ModelForm[Any], change: bool) -> None:
        pair = (obj.source_id, obj.target_id)
        columns: dict[str, Column] = {
            "source_id": [pair[0]], "target_id": [pair[1]], "kind": [obj.kind], "created_at": [obj.created_at],
        }  # fmt: skip
        store_relationships(columns, approves_follows=True)
        obj.pk = find_pairs(obj.kind, [pair])[pair]

    def delete_model(self, request: HttpRequest, obj: Relationship) -> None:
        end_relationships(Relationship.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Relationship]) -> None:
        end_relationships(queryset)

    @admin.action(description=gettext_lazy("Approve follow requests"), permissions=["change"])
    def approve_requests(self, request: HttpRequest, rows: QuerySet[Relationship]) -> None:
        """Approve those of the rows that are follow requests."""
        approved = make_follows(rows)
        text = ngettext("{n} follow request approved.", "{n} follow requests approved.", approved)
        self.message_user(request, with_count(text, approved), messages.SUCCESS)

    @admin.action(description=gettext_lazy("Decline follow requests"), permissions=["delete"])
    def decline_requests(self, request: HttpRequest, rows: QuerySet[Relationship]) -> None:
        """Delete those of the rows that are follow requests."""
        requests = rows.filter(kind=FOLLOW_REQUEST)
        declined = requests.count()
        end_relationships(requests)
        text = ngettext("{n} follow request declined.", "{n} follow requests declined.", declined)
        self.message_user(request, with_count(text, declined), messages.SUCCESS)
