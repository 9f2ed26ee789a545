"""
Forms of the admin that overwrite no change which someone else made after the form was opened.

A form holds a digest of the values that it was opened with. When it is submitted, the row is locked, read again and
compared with the digest: if another writer has changed one of the form's fields meanwhile, nothing is saved and the
form says so. Otherwise only the columns that were changed in the form are saved, because services change other columns
of the same row.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, connection
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_lists import ListAdmin
from monitoring.transactions import is_write_conflict, write_transaction
from values.json_text import StrictDecoder
from values.text import find_storage_problem

CHANGED_MEANWHILE = gettext_lazy(
    "This {name} was changed after you opened the page. Nothing was saved. Open the page again, and repeat your change."
)
WRITE_CONFLICT = gettext_lazy("Others changed the same data at the same moment. Nothing was saved. Try again.")


def check_storable(value: object) -> None:
    """Raise `ValidationError` for a JSON value that no database can store."""
    if problem := find_storage_problem(value):
        raise ValidationError(gettext("The value {problem}.").format(problem=gettext(problem)), code="invalid")


class NamedFieldsForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A form whose fields have the names of their columns in the language of the page, unless they declare another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        columns = {column.name: column for column in self._meta.model._meta.concrete_fields}
        for name, field in self.fields.items():
            if name in columns and (field.label is None or name not in self.declared_fields):
                field.label = capfirst(columns[name].verbose_name)


class UnchangedRowForm(NamedFieldsForm):
    """A form that refuses to save a row that was changed after the form was opened."""

    opened_state = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, forms.JSONField):
                field.decoder, field.validators = StrictDecoder, [*field.validators, check_storable]
        if not self.instance._state.adding:
            self.initial["opened_state"] = values_state({name: self.get_initial(name) for name in self.model_fields()})

    def get_initial(self, name: str) -> object:
        """Return the value of a field as it is stored."""
        return self.get_initial_for_field(self.fields[name], name)

    def model_fields(self) -> list[str]:
        """Return the names of the fields that are columns or many-to-many relations of the model."""
        names = {
            field.name for field in (*self._meta.model._meta.concrete_fields, *self._meta.model._meta.many_to_many)
        }
        return [name for name in self.fields if name in names]

    def clean(self) -> dict[str, Any] | None:
        """Refuse a row that was changed after the form was opened."""
        cleaned = super().clean()
        if self.data.get(self.add_prefix("opened_state"), "") != self.initial.get("opened_state", ""):
            # An inline form shows the errors of its fields only.
            place = self.visible_fields()[0].name if self.prefix else None
            self.add_error(place, CHANGED_MEANWHILE.format(name=self._meta.model._meta.verbose_name))
        return cleaned

    def save(self, commit: bool = True) -> Any:
        """Save the changed columns of an existing row, or insert a new row."""
        if not commit or self.instance._state.adding:
            return super().save(commit=commit)
        super().save(commit=False)
        save_changed(self)
        self.save_m2m()
        return self.instance


def values_state(values: dict[str, object]) -> str:
    """Return a digest of a form's values."""
    plain = {name: to_keys(value) for name, value in values.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def to_keys(value: object) -> object:
    """Return the primary keys of a list of rows, sorted, and any other value unchanged."""
    if isinstance(value, list) and all(isinstance(item, Model) for item in value):
        return sorted(item.pk for item in value)
    return value


def save_changed(form: forms.ModelForm[Any], *derived: str) -> None:
    """Save the columns of the form's row that were changed in the form, and the *derived* columns."""
    columns = {field.name for field in form.instance._meta.concrete_fields}
    changed = columns & set(form.changed_data)
    if changed:
        form.instance.save(update_fields=sorted(changed | {*derived} | (columns & {"changed_at"})))


class OpenedStateAdmin(ListAdmin):
    """An admin whose form has the hidden field `opened_state`, and which saves again after a write conflict."""

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return the fieldsets with the hidden field, which fieldsets that are listed do not name."""
        fieldsets = [(name, dict(options)) for name, options in super().get_fieldsets(request, obj)]
        if not any("opened_state" in options["fields"] for _, options in fieldsets):
            fieldsets[-1][1]["fields"] = (*fieldsets[-1][1]["fields"], "opened_state")
        return fieldsets

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show or save the form. A write conflict that lasts is shown as a message."""
        view = super().changeform_view
        if request.method != "POST":
            return view(request, object_id, form_url, extra_context)
        try:
            return write_transaction(view)(request, object_id, form_url, extra_context)
        except DatabaseError as error:
            if not is_write_conflict(error):
                raise
            messages.error(request, WRITE_CONFLICT)
            return HttpResponseRedirect(request.get_full_path())


class UnchangedRowAdmin(OpenedStateAdmin):
    """An admin that locks the row while its form is saved, and saves the changed columns only."""

    form = UnchangedRowForm
    derived_columns: tuple[str, ...] = ()
    """Columns that `save_model` computes from the form."""

    def lock_row(self, obj: Any) -> None:
        """Lock the row, in the order of locks that `monitoring/transactions.py` states."""
        self.model._default_manager.select_for_update().filter(pk=obj.pk).exists()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row. While a form is saved, lock it and read it again."""
        obj = super().get_object(request, object_id, from_field)
        if obj is None or request.method != "POST" or not connection.in_atomic_block:
            return obj
        self.lock_row(obj)
        try:
            obj.refresh_from_db()
        except ObjectDoesNotExist:
            return None
        return obj

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the changed columns of an existing row, or insert a new row."""
        if change:
            save_changed(form, *self.derived_columns)
        else:
            super().save_model(request, obj, form, change)
