"""Forms of the admin that read values as every other entry point does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.utils.translation import gettext

from monitoring.row_forms import UnchangedRowForm
from values.problems import InvalidValueError
from values.types import MAX_PREFERENCES, Id, Language, Media, Region, SafetyLabels, Slug, Word, list_of, read


class TypedForm(UnchangedRowForm):
    """A form whose fields have the types of `values.types`. An empty field that may be empty has no value."""

    types: ClassVar[Mapping[str, Any]]

    def clean(self) -> dict[str, Any] | None:
        """Return the fields in their normal form. Refuse values that no other entry point accepts."""
        cleaned = super().clean() or self.cleaned_data
        for name, value_type in self.types.items():
            if cleaned.get(name) in (None, ""):
                continue
            try:
                cleaned[name] = read(value_type, cleaned[name])
            except InvalidValueError as error:
                self.add_error(name, error.translate(gettext))
        return cleaned


class MemberForm(TypedForm):
    types = {"external_id": Id, "languages": list_of(Language), "region": Region}


class PrivacySettingsForm(TypedForm):
    types = dict.fromkeys(("muted_words", "muted_tags", "interest_tags"), list_of(Word, MAX_PREFERENCES))


class PostForm(TypedForm):
    types = {
        "external_id": Id,
        "kind": Slug,
        "language": Language,
        "tags": list_of(Word),
        "media": Media,
        "safety_labels": SafetyLabels,
    }
