"""The form for a new version of a ranking policy: one field for each setting, with its range and default."""

from __future__ import annotations

from dataclasses import Field, asdict, fields
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from monitoring.row_forms import UnchangedRowForm
from recommendations.contracts import InteractionKind, Policy, Range
from recommendations.models import RankingPolicy
from recommendations.services import policies

SETTING_GROUPS = {
    "Taste": [
        "taste",
        "cold_taste",
        "dislike",
        "item_weights",
        "co_liked",
        "liked_next",
        "author",
        "topic",
        "follow",
        "show_less",
        "session",
        "max_interests",
    ],
    "Popularity and age": [
        "popularity",
        "year_popularity",
        "few_likes_popularity",
        "trend",
        "quality",
        "recency",
        "recency_half_life_hours",
    ],
    "Variety": ["diversity", "author_cap", "max_topic_run", "fatigue", "fatigue_half_life_hours"],
    "Exploration": ["exploration", "exploration_candidates", "exploration_share", "exploration_max_served"],
    "Candidates": [
        "nearest_candidates",
        "collaborative_candidates",
        "followed_candidates",
        "topic_candidates",
        "trending_candidates",
        "fresh_candidates",
    ],
    "Interactions (control only)": [f"weight_{kind}" for kind in InteractionKind],
    "Half-lives (control only)": [
        "hour_half_life_hours",
        "day_half_life_hours",
        "week_half_life_hours",
        "year_half_life_hours",
    ],
}
"""The settings in the order of the form, by group."""


def build_setting_field(setting: Field[float]) -> forms.Field:
    """Return the form field of a setting."""
    allowed: Range = setting.metadata["range"]
    default = float(setting.default)  # type: ignore[arg-type]  # every setting has a default
    label = label_setting(setting.name)
    help_text = f"{allowed.help} From {allowed.low:g} to {allowed.high:g}; the default is {default:g}."
    widget = UnfoldAdminTextInputWidget(attrs={"type": "number", "step": 1 if setting.type == "int" else "any"})
    if setting.type == "int":
        low, high = int(allowed.low), int(allowed.high)
        return forms.IntegerField(min_value=low, max_value=high, label=label, help_text=help_text, widget=widget)
    return forms.FloatField(
        min_value=allowed.low, max_value=allowed.high, label=label, help_text=help_text, widget=widget
    )


def label_setting(name: str) -> str:
    """Return the name of a setting in words, with its unit."""
    words = name.replace("half_life", "half-life").replace("_", " ").capitalize()
    if name.endswith("_hours"):
        return f"{words.removesuffix(' hours')} (hours)"
    return f"{words} (posts)" if name.endswith("_candidates") else words


class PolicyFormBase(UnchangedRowForm):
    """The fields of a version that are not settings."""

    started_from = forms.CharField(widget=forms.HiddenInput, required=False)
    activate = forms.BooleanField(
        required=False,
        label="Use it for feeds now",
        help_text="Feeds use the version within two seconds. Without this, it is stored and can be activated later.",
        widget=UnfoldBooleanSwitchWidget,
    )

    class Meta:
        model = RankingPolicy
        fields = ("variant", "note")

    def settings(self) -> dict[str, float]:
        """Return the settings of a valid form."""
        return {setting.name: self.cleaned_data[setting.name] for setting in fields(Policy)}

    def clean(self) -> dict[str, Any] | None:
        """Refuse to replace a version that was activated after the form was opened, or to activate without a reason."""
        cleaned = super().clean() or self.cleaned_data
        if not cleaned.get("activate") or "variant" not in cleaned:
            return cleaned
        if not cleaned.get("note"):
            self.add_error("note", "Give the reason for the change of the feeds.")
        policies.lock_versions(cleaned["variant"])
        active = RankingPolicy.objects.filter(variant=cleaned["variant"], is_active=True).first()
        if active and str(active) != cleaned.get("started_from"):
            raise ValidationError(
                f"Feeds use {active}, which is not the version that this form started from. Nothing was saved. Make a "
                "new version from that one, or save without using it."
            )
        return cleaned


PolicyForm: type[PolicyFormBase] = type(
    "PolicyForm", (PolicyFormBase,), {f.name: build_setting_field(f) for f in fields(Policy)}
)
"""The form with the fields of all settings."""


def initial_values(start: RankingPolicy | None) -> dict[str, object]:
    """Return the values of a form for a version that starts from *start*, or from the defaults without one."""
    if start is None:
        return asdict(Policy())
    return asdict(Policy.from_stored(start.settings)) | {"variant": start.variant, "started_from": str(start)}
