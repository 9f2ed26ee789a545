"""The form for a new version of a ranking policy: one field for each setting, with its range and default."""

from __future__ import annotations

from dataclasses import Field, asdict, fields
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from monitoring.number_texts import significant
from monitoring.row_forms import UnchangedRowForm
from recommendations.contracts import InteractionKind, Policy, Range, name_setting
from recommendations.models import RankingPolicy
from recommendations.services import policies
from values.translation import translatable

SETTING_GROUPS = {
    translatable("Taste"): [
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
    translatable("Popularity and age"): [
        "popularity",
        "year_popularity",
        "few_likes_popularity",
        "trending_popularity",
        "trend",
        "quality",
        "recency",
        "recency_half_life_hours",
    ],
    translatable("Variety"): ["diversity", "author_cap", "max_topic_run", "fatigue", "fatigue_half_life_hours"],
    translatable("Exploration"): [
        "exploration",
        "exploration_candidates",
        "exploration_share",
        "exploration_max_served",
    ],
    translatable("Candidates"): [
        "nearest_candidates",
        "collaborative_candidates",
        "followed_candidates",
        "topic_candidates",
        "trending_candidates",
        "fresh_candidates",
    ],
    translatable("Interactions (control only)"): [f"weight_{kind}" for kind in InteractionKind],
    translatable("Half-lives (control only)"): [
        "hour_half_life_hours",
        "day_half_life_hours",
        "week_half_life_hours",
        "year_half_life_hours",
    ],
}
"""The settings in the order of the form, by the name of the group."""


def build_setting_field(setting: Field[float]) -> forms.Field:
    """Return the form field of a setting."""
    allowed: Range = setting.metadata["range"]
    default = float(setting.default)  # type: ignore[arg-type]  # every setting has a default
    label = lazy(label_setting, str)(setting.name)
    help_text = lazy(describe_setting, str)(allowed, default)
    widget = UnfoldAdminTextInputWidget(attrs={"type": "number", "step": 1 if setting.type == "int" else "any"})
    if setting.type == "int":
        low, high = int(allowed.low), int(allowed.high)
        return forms.IntegerField(min_value=low, max_value=high, label=label, help_text=help_text, widget=widget)
    return forms.FloatField(
        min_value=allowed.low, max_value=allowed.high, label=label, help_text=help_text, widget=widget
    )


def describe_setting(allowed: Range, default: float) -> str:
    """Return the help text of a setting with its range and its default."""
    text = gettext("{help} From {low} to {high}; the default is {default}.")
    low, high, usual = (significant(number, 6) for number in (allowed.low, allowed.high, default))
    return text.format(help=gettext(allowed.help), low=low, high=high, default=usual)


def label_setting(name: str) -> str:
    """Return the name of a setting in words, with its unit, in the language of the page."""
    return gettext(name_setting(name))


class PolicyFormBase(UnchangedRowForm):
    """The fields of a version that are not settings."""

    started_from = forms.CharField(widget=forms.HiddenInput, required=False)
    activate = forms.BooleanField(
        required=False,
        label=gettext_lazy("Use it for feeds now"),
        help_text=gettext_lazy(
            "Feeds use the version within two seconds. Without this, it is stored and can be activated later."
        ),
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
            self.add_error("note", gettext("Give the reason for the change of the feeds."))
        policies.lock_versions(cleaned["variant"])
        active = RankingPolicy.objects.filter(variant=cleaned["variant"], is_active=True).first()
        if active and str(active) != cleaned.get("started_from"):
            raise ValidationError(
                gettext(
                    "Feeds use {active}, which is not the version that this form started from. Nothing was saved. "
                    "Make a new version from that one, or save without using it."
                ).format(active=active)
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
