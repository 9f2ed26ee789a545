"""Admin pages for API keys, whose secrets are displayed once, for alerts on unusual usage, and for users and roles."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy, ngettext
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from access import keys, staff_admin
from access.errors import AccessError
from access.models import ApiKey, UsageAlert
from access.scopes import SCOPE_HELP, Scope
from monitoring.admin_columns import StateLabel
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.number_texts import ShownNumber, shown, with_count
from monitoring.row_forms import UnchangedRowAdmin, UnchangedRowForm
from values.translation import translatable

__all__ = ["ApiKeyAdmin", "UsageAlertAdmin", "staff_admin"]
STATUS_COLORS = {
    translatable("active"): "success",
    translatable("expired"): "warning",
    translatable("revoked"): "danger",
}


def list_scopes() -> list[tuple[str, str]]:
    """Return the scopes as choices, each with its meaning in the language of the page."""
    return [(scope.value, f"{scope}: {gettext(SCOPE_HELP[scope])}") for scope in Scope]


class KeyForm(UnchangedRowForm):
    """The editable fields of a key."""

    scopes = forms.MultipleChoiceField(
        choices=list_scopes,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("Select only the scopes that the key needs. A change takes effect within a second."),
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "per_minute", "expires_at")

    def clean_expires_at(self) -> Any:
        """Return the expiry if it is in the future or unchanged."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at != self.instance.expires_at and expires_at <= now():
            raise forms.ValidationError(gettext("A key cannot expire in the past. Revoke it to end it now."))
        return expires_at


class RotateForm(forms.Form):
    """How long the current secret stays valid."""

    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=keys.MAX_OVERLAP.days * 24,
        initial=24,
        widget=UnfoldAdminIntegerFieldWidget,
        label=gettext_lazy("Hours for which the current secret stays valid"),
        help_text=gettext_lazy("0: it becomes invalid at once. Until then both secrets work."),
    )


@admin.register(ApiKey)
class ApiKeyAdmin(UnchangedRowAdmin):
    form = KeyForm
    list_display = ("name", "prefix", "status", "scope_list", "last_used_at", "expires_at", "created_at")
    search_fields = ("name", "^prefix")
    search_help_text = gettext_lazy("Words of the name, or first characters of the prefix")
    actions_detail = ("rotate", "revoke")
    warn_unsaved_form = True

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        fields = ("prefix", "status", "last_used_at", "rotated_at", "old_secret_expires_at", "created_at", "created_by")
        return fields if obj else ()

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return (*KeyForm.Meta.fields, *self.get_readonly_fields(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # A key is revoked and not deleted, so that its alerts and its last use stay.
        return False

    @display(description=gettext_lazy("Status"), label=STATUS_COLORS)
    def status(self, key: ApiKey) -> StateLabel:
        """Return the status of the key, and its word: active, expired or revoked."""
        status = keys.key_status(key, now())
        return StateLabel(status, gettext(status))

    @admin.display(description=gettext_lazy("Scopes"))
    def scope_list(self, key: ApiKey) -> str:
        """Return the scopes, separated by commas."""
        return ", ".join(key.scopes)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            keys.clear_key_cache()
            return
        values = {name: form.cleaned_data[name] for name in KeyForm.Meta.fields}
        created, secret = keys.create(**values, now=now(), created_by=cast(User, request.user))
        obj.__dict__.update(created.__dict__)
        request.new_secret = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_secret(request, obj, request.new_secret)  # type: ignore[attr-defined]

    def show_secret(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        """Return the page with the secret. No session, message or browser cache stores it."""
        response = self.render_page(request, key, "secret", {"title": gettext("The key's secret"), "secret": secret})
        response["Cache-Control"] = "no-store"
        return response

    def render_page(self, request: HttpRequest, key: ApiKey, name: str, context: dict[str, Any]) -> HttpResponse:
        """Return the page `access/{name}.html` for a key."""
        base_context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "key": key,
            "back_url": self.key_url(key),
        }
        return render(request, f"access/{name}.html", base_context | context)

    def key_url(self, key: ApiKey) -> str:
        """Return the URL of the key's change page."""
        return reverse("admin:access_apikey_change", args=[key.pk])

    @action(description=gettext_lazy("Rotate"), url_path="rotate", permissions=["change"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the current secret stays valid, rotate the key and show the new secret."""
        key = get_object_or_404(ApiKey, pk=object_id)
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            expires_at = now() + timedelta(hours=form.cleaned_data["overlap_hours"])
            try:
                key, secret = keys.rotate(prefix=key.prefix, old_secret_expires_at=expires_at, now=now())
            except AccessError as error:
                self.message_user(request, str(error), messages.ERROR)
                return HttpResponseRedirect(self.key_url(key))
            self.log_change(request, key, "Rotated.")
            return self.show_secret(request, key, secret)
        message = gettext("The key gets a new secret, which is displayed once.")
        context = {"title": gettext("Rotate the key"), "form": form, "message": message, "action": gettext("Rotate")}
        return self.render_page(request, key, "confirm", context)

    @action(description=gettext_lazy("Revoke"), url_path="revoke", permissions=["change"], icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation and revoke the key."""
        key = get_object_or_404(ApiKey, pk=object_id)
        if request.method == "POST":
            keys.revoke(prefix=key.prefix, now=now())
            self.log_change(request, key, "Revoked.")
            self.message_user(
                request, gettext("{key} and every token it minted are revoked.").format(key=key), messages.SUCCESS
            )
            return HttpResponseRedirect(self.key_url(key))
        message = gettext("The key and every token it minted stop working within a second. This cannot be undone.")
        context = {"title": gettext("Revoke the key"), "message": message, "action": gettext("Revoke")}
        return self.render_page(request, key, "confirm", context)


@admin.register(UsageAlert)
class UsageAlertAdmin(ServiceRowsAdmin):
    list_display = ("raised_at", "kind", "caller", "key", "count", "baseline_count", "is_reviewed")
    list_filter = ("kind", "is_reviewed")
    list_select_related = ("key",)
    search_fields = ("^caller",)
    search_help_text = gettext_lazy("First characters of the caller")
    actions = ("mark_reviewed",)

    @admin.display(description=gettext_lazy("Baseline"), ordering="baseline")
    def baseline_count(self, alert: UsageAlert) -> ShownNumber:
        """Return the baseline without decimals."""
        return shown(round(alert.baseline))

    def has_review_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run the action. The pages themselves are read-only."""
        return request.user.has_perm("access.change_usagealert")

    @admin.action(description=gettext_lazy("Mark as reviewed"), permissions=["review"])
    def mark_reviewed(self, request: HttpRequest, alerts: QuerySet[UsageAlert]) -> None:
        """Mark the selected alerts as reviewed."""
        count = alerts.update(is_reviewed=True)
        text = ngettext("{n} alert marked as reviewed.", "{n} alerts marked as reviewed.", count)
        self.message_user(request, with_count(text, count), messages.SUCCESS)
