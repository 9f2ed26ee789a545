"""
What the pages of flags share: a form with a reason, saved by the one writer; and a history that can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.forms import BaseFormSet, ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from rest_framework.exceptions import APIException, ValidationError
from unfold.admin import ModelAdmin, TabularInline
from unfold.dataclasses import ActionDialog
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from flags.documents import Document
from flags.models import FlagChange, PendingChange, Subject
from flags.services.change import KINDS, Actor, change
from flags.services.errors import lines_of
from flags.services.history import differences, restore
from monitoring.clock import now

WHY = "Kept with the change, for whoever asks later."


class WhyForm(BaseDialogForm):
    """Asks for a reason before something is done."""

    why = forms.CharField(help_text=WHY, widget=UnfoldAdminTextareaWidget({"rows": 2}))


class PlainWhyForm(forms.Form):
    """Asks for a reason on a page of its own."""

    why = forms.CharField(help_text=WHY, widget=UnfoldAdminTextareaWidget({"rows": 2}))


def dialog(title: str, description: str, submit: str, form: type[BaseDialogForm] = WhyForm) -> ActionDialog:
    """Return a question that stands before an action."""
    return ActionDialog(title=title, description=description, form_class=form, form_submit_text=submit)


class RecordedForm(ModelForm):
    """A form whose change needs a reason."""

    why = forms.CharField(help_text=WHY, widget=UnfoldAdminTextInputWidget)


class Rows(TabularInline):
    """Rows that hang on something: who may change that may change them."""

    extra = 0
    ordering_field: str | None = "position"
    hide_ordering_field = True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request)

    def _may(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"flags.change_{self.parent_model._meta.model_name}"))


class RecordedPage(ModelAdmin):
    """A page whose form is saved by the one writer, as a whole document, with a reason."""

    subject: Subject
    warn_unsaved_form = True
    show_full_result_count = False

    def document_of(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        """Return what the form says, as a document without what it does not say. May add errors to the form."""
        raise NotImplementedError

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        return (*super().get_readonly_fields(request, obj), *(("key",) if obj else ()))

    def _create_formsets(self, request: HttpRequest, obj: Any, change: bool) -> Any:
        formsets, inlines = super()._create_formsets(request, obj, change)
        request.flag_formsets = formsets  # type: ignore[attr-defined]
        return formsets, inlines

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Write it here, where a refusal still leads back to the form; the admin's own steps write nothing."""
        formsets: list[BaseFormSet[Any]] = request.flag_formsets  # type: ignore[attr-defined]
        if all(formset.is_valid() for formset in formsets):
            rows = {formset.model._meta.model_name: rows_of(formset) for formset in formsets}  # type: ignore[attr-defined]
            document = self.document_of(form, rows)
            if not form.errors and all(formset.is_valid() for formset in formsets):
                self.write(request, form, document)
            if form.errors:
                formsets[0]._non_form_errors.append("Nothing was saved: see what is wrong with the form.")  # type: ignore[attr-defined]
        return form.instance

    def write(self, request: HttpRequest, form: Any, document: Document) -> None:
        """Change what the form is about, or say in the form what is wrong."""
        is_new = form.instance.pk is None
        key = form.cleaned_data["key"] if is_new else form.instance.key
        patch = {name: value for name, value in document.items() if name != "why"} | {"key": key}
        try:
            done = change(
                subject=self.subject,
                key=key,
                patch=patch,
                actor=actor_of(request),
                why=form.cleaned_data["why"],
                now=now(),
                create=is_new,
            )
        except ValidationError as error:
            for name, detail in dict(error.detail).items():  # type: ignore[arg-type]
                for line in lines_of(detail):
                    form.add_error(
                        name if name in form.fields else None, line if name in form.fields else f"{name}: {line}"
                    )
            return
        except APIException as error:
            form.add_error(None, str(error.detail))
            return
        request.flag_outcome = done  # type: ignore[attr-defined]
        form.instance.pk = KINDS[self.subject].model.objects.values_list("pk", flat=True).get(key=key)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing: `save_form` wrote it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing: `save_form` wrote it."""

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        return []

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Nothing: the record of changes has it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Nothing: the record of changes has it."""

    def message_user(self, request: HttpRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        done = getattr(request, "flag_outcome", "other")
        if isinstance(done, PendingChange):
            messages.warning(request, "A second person must approve this: nothing has changed yet.")
        elif done is None:
            messages.info(request, "Nothing was changed: it is so already.")
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
        """Show each change: who, why, what was before and what after, and the way back to it."""
        obj = self.existing(request, object_id)
        records = FlagChange.objects.filter(subject=self.subject, key=obj.key).select_related("user", "approved_by")
        rows = [
            {"record": row, "differences": differences(row.before, row.after) if row.before else []}
            for row in records[:100]
        ]
        may_restore = self.subject != Subject.PLAN and self.has_change_permission(request, obj)
        context = self.page_context(request, obj, f"History of {obj.key}") | {"rows": rows, "may_restore": may_restore}
        return TemplateResponse(request, "flags/history.html", context)

    def restore_view(self, request: HttpRequest, object_id: str, change_id: int) -> HttpResponse:
        """Ask why, and make it what it was after that change."""
        obj = self.existing(request, object_id)
        record = FlagChange.objects.filter(subject=self.subject, key=obj.key, pk=change_id).first()
        if record is None or not self.has_change_permission(request, obj):
            raise Http404
        form = PlainWhyForm(request.POST or None)
        current = KINDS[self.subject].read(obj)
        if form.is_valid():
            why = form.cleaned_data["why"]
            act(request, lambda: restore(change_id=change_id, actor=actor_of(request), why=why, now=now()), "Restored.")
            return HttpResponseRedirect(self.address_of(obj))
        context = self.page_context(request, obj, f"Restore {obj.key}") | {
            "form": form,
            "button": "Restore",
            "intro": f"{obj.key} becomes what it was after the change of {record.at:%Y-%m-%d %H:%M:%S} UTC.",
            "differences": differences(current, current | record.after),
        }
        return TemplateResponse(request, "flags/form.html", context)

    def existing(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object, for those who may see it."""
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_view_permission(request, obj):
            raise Http404
        return obj

    def page_context(self, request: HttpRequest, obj: Any, title: str) -> dict[str, Any]:
        """Return what a page of our own needs to look like the others."""
        return self.admin_site.each_context(request) | {"title": title, "opts": self.opts, "original": obj}

    def address_of(self, obj: Any) -> str:
        """Return the address of the object's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[obj.pk])


def rows_of(formset: Any) -> list[dict[str, Any]]:
    """Return the rows that stay, in their order; each with its form, so that errors find their place."""
    kept = [form for form in formset.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
    positions = [form.cleaned_data.get("position") or 0 for form in kept]
    # Rows that were added and not moved have no place of their own yet: they come last.
    is_placed = len(set(positions)) == len(positions)
    ordered = sorted(
        zip(positions, range(len(kept)), kept, strict=True),
        key=lambda row: (not is_placed and row[2].instance.pk is None, row[0], row[1]),
    )
    return [form.cleaned_data | {"form": form} for _, _, form in ordered]


def actor_of(request: HttpRequest) -> Actor:
    """Return who is at the page."""
    return Actor(request.user)  # type: ignore[arg-type]


def act(request: HttpRequest, do: Any, done: str) -> Any:
    """Do something that a service may refuse, and say what became of it."""
    try:
        outcome = do()
    except ValidationError as error:
        messages.error(request, " ".join(lines_of(error.detail)))
        return None
    except APIException as error:
        messages.error(request, str(error.detail))
        return None
    if isinstance(outcome, PendingChange) and outcome.state == PendingChange.State.WAITING:
        messages.warning(request, "A second person must approve this: nothing has changed yet.")
    elif outcome is None:
        messages.info(request, "Nothing was changed: it is so already.")
    else:
        messages.success(request, done)
    return outcome


def leave(address: str) -> HttpResponse:
    """Leave a dialog for *address*."""
    return HttpResponse(headers={"HX-Redirect": address})
