"""Admin of segments: conditions as rows, and ids one per line."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from flags.admin.base import RecordedAdmin, RecordedForm, RecordedInline
from flags.admin.values import format_condition_value, parse_condition_value
from flags.attributes import describe_attributes
from flags.documents import UNIT_ID_FIELDS, Document
from flags.models import ChangeSubject, Condition, Segment

HELP_TEXTS = {field.name: field.help_text for field in Segment._meta.fields}


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
            self.fields[name].help_text = f"{HELP_TEXTS[name]} One id per line."
        if self.instance.pk:
            for name in UNIT_ID_FIELDS:
                self.initial[name] = "\n".join(getattr(self.instance, name))


class ConditionForm(forms.ModelForm):
    values = forms.CharField(
        required=False,
        help_text='One value per line. Quotes make a number a text: "276".',
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
    )

    class Meta:
        model = Condition
        fields = ("attribute", "operator", "values", "position")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        descriptions = "; ".join(f"{name}: {text}" for name, text in describe_attributes().items())
        self.fields["attribute"].help_text = f"Available: {descriptions}. Clients may send others."
        if self.instance.pk:
            lines = [format_condition_value(value, self.instance.operator) for value in self.instance.values]
            self.initial["values"] = "\n".join(lines)


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

    @display(description="Used by")
    def used_by(self, segment: Segment) -> str:
        return ", ".join(sorted({rule.flag.key for rule in segment.rules.select_related("flag")}))

    def build_document(self, form: Any, rows: dict[str, list[dict[str, Any]]]) -> Document:
        document = dict(form.cleaned_data)
        return document | {
            **{name: split_lines(document[name]) for name in UNIT_ID_FIELDS},
            "conditions": [
                {
                    "attribute": row["attribute"],
                    "operator": row["operator"],
                    "values": [parse_condition_value(line, row["operator"]) for line in split_lines(row["values"])],
                }
                for row in rows["condition"]
            ],
        }
