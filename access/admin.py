"""API keys in the admin: made, rotated, revoked, their secret shown once; and the alerts on unusual use."""

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
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from access import keys
from access.errors import AccessError
from access.models import ApiKey, UsageAlert
from access.scopes import SCOPE_HELP, Scope
from monitoring.clock import now

STATUS_COLORS = {"works": "success", "expired": "warning", "revoked": "danger"}


class KeyForm(forms.ModelForm):
    """What a person says of a key."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope}: {SCOPE_HELP[scope]}") for scope in Scope],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Give it what it needs and no more. A change holds within a second.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "per_minute", "expires_at")

    def clean_expires_at(self) -> Any:
        """Return the time if it is to come, or the one that there was."""
        ends = self.cleaned_data["expires_at"]
        if ends is not None and ends != self.instance.expires_at and ends <= now():
            raise forms.ValidationError("A key cannot expire in the past. To end it now, revoke it.")
        return ends


class RotateForm(forms.Form):
    """How long the present secret goes on."""

    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=keys.MAX_OVERLAP.days * 24,
        initial=24,
        widget=UnfoldAdminIntegerFieldWidget,
        label="Hours for which the present secret goes on working",
        help_text="0: it ends at once. Until then both work, so that every server can be given the new one in turn.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    form = KeyForm
    list_display = ("name", "prefix", "status", "scope_list", "last_used_at", "expires_at", "created_at")
    search_fields = ("name", "^prefix")
    search_help_text = "Words of the name, or the first characters of the prefix"
    actions_detail = ("rotate", "revoke")
    warn_unsaved_form = True

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        facts = ("prefix", "status", "last_used_at", "rotated_at", "old_secret_expires_at", "created_at", "created_by")
        return facts if obj else ()

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return (*KeyForm.Meta.fields, *self.get_readonly_fields(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # A key that was is revoked, not deleted: its alerts and its last use stay.
        return False

    @display(description="Standing", label=STATUS_COLORS)
    def status(self, key: ApiKey) -> str:
        """Return in a word whether the key lets anybody in."""
        return keys.key_status(key, now())

    @admin.display(description="Scopes")
    def scope_list(self, key: ApiKey) -> str:
        """Return what it may do, in a line."""
        return ", ".join(key.scopes)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=KeyForm.Meta.fields)
            keys.clear_key_cache()
            return
        made, secret = keys.create(**form.cleaned_data, now=now(), created_by=cast(User, request.user))
        obj.__dict__.update(made.__dict__)
        request.made_secret = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_secret(request, obj, request.made_secret)  # type: ignore[attr-defined]

    def show_secret(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        """Return the page with the secret: not kept in a session or a message, and by no browser."""
        response = self.render_page(request, key, "secret", {"title": "The key's secret", "secret": secret})
        response["Cache-Control"] = "no-store"
        return response

    def render_page(self, request: HttpRequest, key: ApiKey, name: str, context: dict[str, Any]) -> HttpResponse:
        """Return one of our pages about a key."""
        around = self.admin_site.each_context(request) | {"opts": self.opts, "key": key, "back": self.key_url(key)}
        return render(request, f"access/{name}.html", around | context)

    def key_url(self, key: ApiKey) -> str:
        """Return where the key's own page is."""
        return reverse("admin:access_apikey_change", args=[key.pk])

    @action(description="Rotate", url_path="rotate", permissions=["change"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the present secret goes on, and show the new one."""
        key = get_object_or_404(ApiKey, pk=object_id)
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            until = now() + timedelta(hours=form.cleaned_data["overlap_hours"])
            try:
                key, secret = keys.rotate(prefix=key.prefix, old_secret_expires_at=until, now=now())
            except AccessError as error:
                self.message_user(request, str(error), messages.ERROR)
                return HttpResponseRedirect(self.key_url(key))
            self.log_change(request, key, "Rotated.")
            return self.show_secret(request, key, secret)
        said = "The key gets a new secret, which is shown once."
        return self.render_page(
            request, key, "confirm", {"title": "Rotate the key", "form": form, "said": said, "do": "Rotate"}
        )

    @action(description="Revoke", url_path="revoke", permissions=["change"], icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask once more, and end the key."""
        key = get_object_or_404(ApiKey, pk=object_id)
        if request.method == "POST":
            keys.revoke(prefix=key.prefix, now=now())
            self.log_change(request, key, "Revoked.")
            self.message_user(request, f"{key} is revoked, and so is every token it made.", messages.SUCCESS)
            return HttpResponseRedirect(self.key_url(key))
        said = "The key and every token that it made end at once, everywhere. There is no way back: make another key."
        return self.render_page(request, key, "confirm", {"title": "Revoke the key", "said": said, "do": "Revoke"})


@admin.register(UsageAlert)
class UsageAlertAdmin(ModelAdmin):
    list_display = ("raised_at", "kind", "caller", "key", "count", "baseline_count", "is_reviewed")
    list_filter = ("kind", "is_reviewed")
    list_select_related = ("key",)
    search_fields = ("^caller",)
    search_help_text = "The first characters of the caller"
    actions = ("mark_reviewed",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description="Usual or allowed", ordering="baseline")
    def baseline_count(self, alert: UsageAlert) -> int:
        """Return it without decimals."""
        return round(alert.baseline)

    @admin.action(description="Mark as looked at", permissions=["view"])
    def mark_reviewed(self, request: HttpRequest, alerts: QuerySet[UsageAlert]) -> None:
        """Take these off the list of what is new."""
        self.message_user(request, f"{alerts.update(is_reviewed=True)} marked as looked at.", messages.SUCCESS)
