"""
Shared parts of the flag admin: forms with a reason, saved through `flags.services.change`, and a readable history.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.forms import BaseFormSet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, gettext_lazy
from unfold.admin import TabularInline
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from flags.differences import find_differences
from flags.documents import Document
from flags.models import ChangeSubject, FlagChange, PendingChange
from flags.services.change import SUBJECT_HANDLERS, apply_change, row_state
from flags.services.errors import FlagError, InvalidChangeError, error_lines
from flags.services.history import restore_change
from flags.services.record import Actor
from monitoring.admin_columns import Text
from monitoring.clock import now
from monitoring.row_forms import NamedFieldsForm, OpenedStateAdmin

WHY_LABEL = gettext_lazy("Why")
WHY_HELP = gettext_lazy("The reason, saved with the change.")


class WhyDialogForm(BaseDialogForm):
    """A dialog that asks for a reason before an action."""

    why = forms.CharField(label=WHY_LABEL, help_text=WHY_HELP, widget=UnfoldAdminTextareaWidget({"rows": 2}))


class WhyPageForm(forms.Form):
    """A page form that asks for a reason."""

    why = forms.CharField(label=WHY_LABEL, help_text=WHY_HELP, widget=UnfoldAdminTextareaWidget({"rows": 2}))


def action_dialog(
    title: Text, description: Text, submit: Text, form: type[BaseDialogForm] = WhyDialogForm
) -> ActionDialog:
    """Return a confirmation dialog for an action."""
    return ActionDialog(title=title, description=description, form_class=form, form_submit_text=submit)


class RecordedForm(NamedFieldsForm):
    """A model form with a reason for the change."""

    why = forms.CharField(label=WHY_LABEL, help_text=WHY_HELP, widget=UnfoldAdminTextInputWidget)
    opened_state = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["opened_state"] = row_state(self.instance)


class RecordedInline(TabularInline):
    """Child rows, editable with the permission to change their parent."""

    extra = 0
    ordering_field: str | None = "position"
    hide_ordering_field = True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._can_change_parent(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._can_change_parent(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._can_change_parent(request)

    def _can_change_parent(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"flags.change_{self.parent_model._meta.model_name}"))


class RecordedAdmin(OpenedStateAdmin):
    """An admin whose form is saved by `apply_change`, as a whole document with a reason."""

    subject: ChangeSubject
    warn_unsaved_form = True

    @abstractmethod
    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        """Return the form's values as a document, without fields that the form lacks. May add errors to the form."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        return (*super().get_readonly_fields(request, obj), *(("key",) if obj else ()))

    def _create_formsets(self, request: HttpRequest, obj: Any, change: bool) -> Any:
        formsets, inlines = super()._create_formsets(request, obj, change)
        request.flag_formsets = formsets  # type: ignore[attr-defined]
        return formsets, inlines

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """
        Save the change here, where a refusal can still be shown in the form. Django's later save steps do nothing.

        Django calls `save_form` before it decides whether the form is valid, so errors added here redisplay the form.
        """
        formsets: list[BaseFormSet[Any]] = request.flag_formsets  # type: ignore[attr-defined]
        if all(formset.is_valid() for formset in formsets):
            rows = {formset.model._meta.model_name: formset_rows(formset) for formset in formsets}  # type: ignore[attr-defined]
            document = self.build_document(form, rows)
            if not form.errors and all(formset.is_valid() for formset in formsets):
                self.submit_change(request, form, document)
            if form.errors:
                formsets[0]._non_form_errors.append(gettext("Nothing was saved. Correct the errors in the form."))  # type: ignore[attr-defined]
        return form.instance

    def submit_change(self, request: HttpRequest, form: Any, document: Document) -> None:
        """Apply the change, or add the errors to the form."""
        is_new = form.instance.pk is None
        key = form.cleaned_data["key"] if is_new else form.instance.key
        omitted = {"why", "opened_state", *find_unedited_times(form)}
        patch = {name: value for name, value in document.items() if name not in omitted} | {"key": key}
        try:
            outcome = apply_change(
                subject=self.subject,
                key=key,
                patch=patch,
                actor=get_actor(request),
                why=form.cleaned_data["why"],
                now=now(),
                state=None if is_new else form.cleaned_data["opened_state"],
                create=is_new,
            )
        except InvalidChangeError as error:
            for name, detail in error.detail.items():
                for line in error_lines(detail):
                    form.add_error(
                        name if name in form.fields else None, line if name in form.fields else f"{name}: {line}"
                    )
            return
        except FlagError as error:
            form.add_error(None, str(error))
            return
        request.flag_outcome = outcome  # type: ignore[attr-defined]
        form.instance.pk = SUBJECT_HANDLERS[self.subject].model.objects.values_list("pk", flat=True).get(key=key)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Do nothing: `save_form` saved the object."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Do nothing: `save_form` saved the related rows."""

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        return []

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Do nothing: the change history has the entry."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Do nothing: the change history has the entry."""

    def message_user(self, request: HttpRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        outcome = getattr(request, "flag_outcome", "other")
        if isinstance(outcome, PendingChange):
            messages.warning(request, gettext("A second person must approve this change. Nothing has changed yet."))
        elif outcome is None:
            messages.info(request, gettext("Nothing changed: the values are the same as before."))
        else:
            super().message_user(request, message, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_view)
        info = self.opts.app_label, self.opts.model_name
        return [
            path("<path:object_id>/restore/<int:change_id>/", view, name="{}_{}_restore".format(*info)),
            *super().get_urls(),
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> TemplateResponse:
        """Show each change with its author, reason and differences, and a link to restore it."""
        obj = self.get_visible_object(request, object_id)
        changes = FlagChange.objects.filter(subject=self.subject, key=obj.key).select_related("user", "approved_by")
        rows = [
            {"change": row, "differences": find_differences(row.before, row.after) if row.before else []}
            for row in changes[:100]
        ]
        may_restore = self.subject != ChangeSubject.PLAN and self.has_change_permission(request, obj)
        context = self.page_context(request, obj, gettext("History of {key}").format(key=obj.key)) | {
            "rows": rows,
            "may_restore": may_restore,
        }
        return TemplateResponse(request, "flags/history.html", context)

    def restore_view(self, request: HttpRequest, object_id: str, change_id: int) -> HttpResponse:
        """Ask for a reason, and restore the state after the change."""
        obj = self.get_visible_object(request, object_id)
        change = FlagChange.objects.filter(subject=self.subject, key=obj.key, pk=change_id).first()
        if change is None or not self.has_change_permission(request, obj):
            raise Http404
        form = WhyPageForm(request.POST or None)
        current = SUBJECT_HANDLERS[self.subject].to_document(obj)
        if form.is_valid():
            why = form.cleaned_data["why"]
            run_action(
                request,
                lambda: restore_change(change_id=change_id, actor=get_actor(request), why=why, now=now()),
                gettext("Restored."),
            )
            return HttpResponseRedirect(self.object_url(obj))
        context = self.page_context(request, obj, gettext("Restore {key}").format(key=obj.key)) | {
            "form": form,
            "submit_label": gettext("Restore"),
            "intro": gettext("Restore {key} to its state after the change of {time} UTC.").format(
                key=obj.key, time=f"{change.changed_at:%Y-%m-%d %H:%M:%S}"
            ),
            "differences": find_differences(current, current | change.after),
        }
        return TemplateResponse(request, "flags/form.html", context)

    def get_visible_object(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object. Raises `Http404` if the user may not see it."""
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_view_permission(request, obj):
            raise Http404
        return obj

    def page_context(self, request: HttpRequest, obj: Any, title: str) -> dict[str, Any]:
        """Return the template context that every admin page needs."""
        return self.admin_site.each_context(request) | {"title": title, "opts": self.opts, "original": obj}

    def object_url(self, obj: Any) -> str:
        """Return the URL of the object's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[obj.pk])


def find_unedited_times(form: Any) -> set[str]:
    """Return the names of times that were not edited. They keep their microseconds, which their fields do not show."""
    times = {name for name, field in form.fields.items() if isinstance(field, forms.SplitDateTimeField)}
    return times - set(form.changed_data) if form.instance.pk else set()


def formset_rows(formset: Any) -> list[dict[str, Any]]:
    """Return the rows that are not deleted, in order. Each has its form, so that errors can be attached to it."""
    forms_to_save = [form for form in formset.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
    positions = [form.cleaned_data.get("position") or 0 for form in forms_to_save]
    # New rows that were not moved share position 0. They come last.
    has_unique_positions = len(set(positions)) == len(positions)
    ordered = sorted(
        zip(positions, range(len(forms_to_save)), forms_to_save, strict=True),
        key=lambda row: (not has_unique_positions and row[2].instance.pk is None, row[0], row[1]),
    )
    return [form.cleaned_data | {"form": form} for _, _, form in ordered]


def get_actor(request: HttpRequest) -> Actor:
    """Return the current user as an actor."""
    return Actor(request.user)  # type: ignore[arg-type]


def run_action(request: HttpRequest, action: Any, success_message: str) -> Any:
    """Run an action that a service may refuse, and show its outcome as a message."""
    try:
        outcome = action()
    except FlagError as error:
        messages.error(request, " ".join(error_lines(error.detail)))
        return None
    if isinstance(outcome, PendingChange) and outcome.state == PendingChange.State.PENDING:
        messages.warning(request, gettext("A second person must approve this change. Nothing has changed yet."))
    elif outcome is None:
        messages.info(request, gettext("Nothing changed: the values are the same as before."))
    else:
        messages.success(request, success_message)
    return outcome


def redirect_from_dialog(url: str) -> HttpResponse:
    """Redirect the browser from a dialog to *url*."""
    return HttpResponse(headers={"HX-Redirect": url})
