"""Admin of segments: conditions as rows, and ids one per line."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.utils.translation import gettext, gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from flags.admin.base import RecordedAdmin, RecordedForm, RecordedInline
from flags.attributes import describe_attributes, is_text_attribute
from flags.documents import UNIT_ID_FIELDS, Document
from flags.models import ChangeSubject, Condition, Segment
from flags.serializers import TEXT_OPERATORS
from flags.written_values import parse_written, write_value
from monitoring.row_forms import NamedFieldsForm
from values.problems import InvalidValueError


def compares_texts(attribute: str, operator: str) -> bool:
    """Return whether a condition compares texts only, so that a line without quotes is a text."""
    return operator in TEXT_OPERATORS or is_text_attribute(attribute)


def split_lines(text: str) -> list[str]:
    """Return the lines that are not empty, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


class SegmentForm(RecordedForm):
    allowed_ids = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget({"rows": 3}))
    denied_ids = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget({"rows": 3}))

    class Meta:
        model = Segment
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in UNIT_ID_FIELDS:
            help_text = Segment._meta.get_field(name).help_text  # type: ignore[union-attr]
            self.fields[name].help_text = gettext("{help} One id per line.").format(help=help_text)
        if self.instance.pk:
            for name in UNIT_ID_FIELDS:
                self.initial[name] = "\n".join(getattr(self.instance, name))


class ConditionForm(NamedFieldsForm):
    values = forms.CharField(
        required=False,
        help_text=gettext_lazy(
            'One value per line: a text, a number, true or false. Quotes make a number a text: "276".'
        ),
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
    )

    class Meta:
        model = Condition
        fields = ("attribute", "operator", "values", "position")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        descriptions = "; ".join(f"{name}: {text}" for name, text in describe_attributes().items())
        self.fields["attribute"].help_text = gettext("Available: {attributes}. Clients may send others.").format(
            attributes=descriptions
        )
        if self.instance.pk:
            is_text = compares_texts(self.instance.attribute, self.instance.operator)
            self.initial["values"] = "\n".join(write_value(value, is_text=is_text) for value in self.instance.values)

    def clean(self) -> dict[str, Any]:
        """Return the fields, with the values read from their lines."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        is_text = compares_texts(cleaned.get("attribute", ""), cleaned.get("operator", ""))
        try:
            values = [parse_written(line, is_text=is_text) for line in split_lines(cleaned.get("values", ""))]
        except InvalidValueError as error:
            self.add_error("values", error.translate(gettext))
            return cleaned
        return cleaned | {"values": values}


class ConditionInline(RecordedInline):
    model = Condition
    form = ConditionForm
    fields = ("attribute", "operator", "values", "position")


@admin.register(Segment)
class SegmentAdmin(RecordedAdmin):
    subject = ChangeSubject.SEGMENT
    form = SegmentForm
    list_display = ("key", "description", "used_by", "changed_at")
    search_fields = ("key", "description")
    fields = ("key", "description", "match", UNIT_ID_FIELDS, "why")
    inlines = (ConditionInline,)

    @display(description=gettext_lazy("Used by"))
    def used_by(self, segment: Segment) -> str:
        return ", ".join(sorted({rule.flag.key for rule in segment.rules.select_related("flag")}))

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        document = dict(form.cleaned_data)
        return document | {
            **{name: split_lines(document[name]) for name in UNIT_ID_FIELDS},
            "conditions": [
                {name: row[name] for name in ("attribute", "operator", "values")} for row in rows["condition"]
            ],
        }
