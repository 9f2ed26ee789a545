"""The document form of an experiment: used by the API, by validation and by the change history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models
from django.utils.translation import gettext
from rest_framework import serializers

from access.limited_fields import LimitedListField
from access.typed_fields import StrictSerializer, TypedField
from flags.documents import Document
from flags.models import ExclusionGroup, Experiment, Flag, Holdout, Metric
from flags.serializers import (
    MAX_COUNT,
    MAX_NUMBER,
    MAX_PARTS,
    NameField,
    Percentage,
    SettingsField,
    ValueField,
    Weight,
    value_kind_error,
)
from flags.services.errors import RefusedError
from values.types import number_from, whole_number_from

State = Experiment.State
ACTIVE_STATES = (State.RUNNING, State.PAUSED)
STEP_ACTIONS = frozenset({"started", "paused", "resumed", "phase_started", "widened", "finished"})
"""Actions of flags/services/experiments.py. Other actions cannot change the state, phase or decision."""
CHANGEABLE_WHILE_RUNNING = frozenset({"hypothesis", "metrics", "minimum_effect"})
"""Fields that may change while an experiment runs: none that affects assignment or the decision."""
REFERENCES: Mapping[str, models.Manager[Any]] = {
    "flag": Flag.objects,
    "group": ExclusionGroup.objects,
    "holdout": Holdout.objects,
    "goal": Metric.objects,
}
"""Fields that refer to other objects by key."""


class ExperimentVariantDocument(StrictSerializer):
    key = NameField()
    weight = TypedField(Weight, default=50)
    is_control = serializers.BooleanField(default=False)
    value = ValueField(default=True, help_text="The flag's value for this variant.")
    config = SettingsField(default=dict, help_text="Settings: the same names and types in each variant.")


class ExperimentDocument(StrictSerializer):
    key = NameField()
    flag = serializers.CharField(help_text="The flag whose value the experiment decides.")
    hypothesis = serializers.CharField(help_text="What you expect to change, for whom, and why.")
    unit = serializers.ChoiceField(choices=Experiment.Unit.choices, default=Experiment.Unit.MEMBER)
    traffic_percentage = TypedField(Percentage, default=100)
    group = serializers.CharField(
        allow_null=True, default=None, help_text="Exclusion group: at most one of its experiments per unit."
    )
    slot_from = TypedField(Percentage, default=0)
    slot_to = TypedField(Percentage, default=100)
    holdout = serializers.CharField(allow_null=True, default=None, help_text="Holdout: units in no experiment.")
    is_sticky = serializers.BooleanField(default=True, help_text="Exposed units keep their variant in a new phase.")
    goal = serializers.CharField(allow_null=True, default=None, help_text="Key of the metric that decides.")
    metrics = LimitedListField(
        child=NameField(),
        default=list,
        max_length=MAX_PARTS,
        help_text="Other metrics to report, with guardrails.",
    )
    minimum_effect = TypedField(
        number_from(0.0001, MAX_NUMBER), default=0.05, help_text="Smallest lift of the goal to detect."
    )
    is_bandit = serializers.BooleanField(default=False, help_text="Weights follow the results (Thompson sampling).")
    bandit_floor = TypedField(number_from(0.01, 0.5), default=0.05)
    variants = ExperimentVariantDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    state = serializers.ChoiceField(choices=State.choices, default=State.DRAFT)
    phase = TypedField(whole_number_from(0, MAX_COUNT), default=0)
    decision = serializers.CharField(allow_blank=True, default="", max_length=64)
    decision_reason = serializers.CharField(allow_blank=True, default="")

    def validate(self, data: Document) -> Document:
        errors = missing_references(data)
        if variant_errors := experiment_variants_errors(data):
            errors["variants"] = variant_errors
        if data["slot_from"] >= data["slot_to"]:
            errors["slot_to"] = gettext("The end of the slot must be above its start.")
        keys = [row["key"] for row in data["variants"]]
        if data["decision"] and data["decision"] not in keys:
            errors["decision"] = gettext("There is no variant {variant}.").format(variant=repr(data["decision"]))
        if data["is_bandit"] and data["bandit_floor"] * max(len(keys), 1) > 1:
            text = gettext("The floor times {count} variants exceeds 1. Give a lower floor.")
            errors["bandit_floor"] = text.format(count=len(keys))
        if data["state"] in ACTIVE_STATES and not errors:
            errors |= start_errors(data)
        if errors:
            raise serializers.ValidationError(errors)
        return data


def missing_references(data: Document) -> dict[str, Any]:
    """Return errors for references to objects that do not exist."""
    errors: dict[str, Any] = {
        name: gettext("There is no {subject} {key}.").format(subject=gettext(name), key=repr(data[name]))
        for name, rows in REFERENCES.items()
        if data[name] and not rows.filter(key=data[name]).exists()
    }
    known = set(Metric.objects.filter(key__in=data["metrics"]).values_list("key", flat=True))
    if unknown := [key for key in data["metrics"] if key not in known]:
        errors["metrics"] = [
            gettext("There is no {subject} {key}.").format(subject=gettext("metric"), key=repr(key)) for key in unknown
        ]
    return errors


def experiment_variants_errors(data: Document) -> dict[str, Any]:
    """Return the errors of the variants, by their index."""
    flag = Flag.objects.filter(key=data["flag"]).first()
    rows, errors = data["variants"], dict[str, Any]()
    for number, row in enumerate(rows):
        value_error = value_kind_error(flag.kind, row["value"]) if flag else ""
        if row["key"] in [earlier["key"] for earlier in rows[:number]]:
            text = gettext("Two variants have the key {key}. Keys must be unique.")
            errors[str(number)] = {"key": text.format(key=row["key"])}
        elif value_error:
            errors[str(number)] = {"value": value_error}
        elif config_types(row["config"]) != config_types(rows[0]["config"]):
            errors[str(number)] = {"config": gettext("All variants must have settings of the same names and types.")}
    if sum(row["is_control"] for row in rows) > 1:
        errors["0"] = {"is_control": gettext("Only one variant can be the control.")}
    return errors


def config_types(config: Mapping[str, object]) -> dict[str, str]:
    """Return the type name of each setting. Integers and floats are both numbers."""
    return {
        name: "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
        for name, value in config.items()
    }


def start_errors(data: Document) -> dict[str, Any]:
    """Return the errors that keep the experiment from running."""
    errors: dict[str, Any] = {}
    rows = data["variants"]
    if len(rows) < 2 or sum(row["is_control"] for row in rows) != 1:
        errors["variants"] = [gettext("An experiment needs at least two variants, exactly one of them the control.")]
    elif any(row["weight"] <= 0 for row in rows):
        errors["variants"] = [gettext("Each variant needs a weight above 0.")]
    if not data["goal"]:
        errors["goal"] = gettext("Name the goal metric before the start, so that no result can influence the choice.")
    if Flag.objects.filter(key=data["flag"], is_archived=True).exists():
        errors["flag"] = gettext("{key} is archived.").format(key=data["flag"])
    others = Experiment.objects.filter(state__in=ACTIVE_STATES).exclude(key=data["key"])
    if data["group"]:
        in_group = others.filter(group__key=data["group"])
        overlapping = in_group.filter(slot_from__lt=data["slot_to"], slot_to__gt=data["slot_from"]).first()
        if overlapping:
            text = gettext("The slot overlaps with {key}, which has {low} to {high} % of the group.")
            errors["slot_from"] = text.format(
                key=overlapping.key, low=f"{overlapping.slot_from:g}", high=f"{overlapping.slot_to:g}"
            )
        others = others.exclude(group__key=data["group"])
    if running := others.filter(flag__key=data["flag"]).first():
        text = gettext("{key} runs on {flag}. Finish it, or put both experiments into one group.")
        errors["flag"] = text.format(key=running.key, flag=data["flag"])
    return errors


def refuse_frozen_changes(before: Document | None, after: Document, action: str) -> None:
    """Raise `RefusedError` if *action* may not make this change: the assignment is frozen while an experiment runs."""
    old = before or {"state": State.DRAFT, "phase": 0, "decision": "", "decision_reason": ""}
    changed = {name for name, value in after.items() if old.get(name) != value}
    if action in STEP_ACTIONS:
        return
    if changed & {"state", "phase", "decision", "decision_reason"}:
        raise RefusedError(
            gettext("State, phase and decision cannot be set. Use the steps: start, pause, resume, phase, finish.")
        )
    if old["state"] == State.FINISHED:
        text = gettext("{key} is finished and cannot change. Create another experiment.")
        raise RefusedError(text.format(key=after["key"]))
    if old["state"] in ACTIVE_STATES and (frozen := sorted(changed - CHANGEABLE_WHILE_RUNNING)):
        text = gettext(
            "{key} is running, so these fields cannot change: {fields}. Begin a new phase, or finish the experiment."
        )
        raise RefusedError(text.format(key=after["key"], fields=", ".join(frozen)))


def phase_variants(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the variants of a phase, each with its share of the experiment's units; the shares sum to 1."""
    total = sum(row["weight"] for row in rows)
    return [
        {
            "key": row["key"],
            "share": row["weight"] / total,
            "is_control": row["is_control"],
            "value": row["value"],
            "config": row["config"],
        }
        for row in rows
    ]


def experiment_document(experiment: Experiment) -> Document:
    """Return the experiment with its variants and current phase number as a document."""
    plain = ("key", "hypothesis", "unit", "traffic_percentage", "slot_from", "slot_to", "is_sticky", "minimum_effect")
    rest = ("is_bandit", "bandit_floor", "state", "decision", "decision_reason")
    arm = ("key", "weight", "is_control", "value", "config")
    newest = experiment.phases.order_by("-number").first()
    return {name: getattr(experiment, name) for name in (*plain, *rest)} | {
        "flag": experiment.flag.key,
        "group": experiment.group.key if experiment.group else None,
        "holdout": experiment.holdout.key if experiment.holdout else None,
        "goal": experiment.goal.key if experiment.goal else None,
        "metrics": sorted(experiment.metrics.values_list("key", flat=True)),
        "variants": [{name: getattr(row, name) for name in arm} for row in experiment.variants.all()],
        "phase": newest.number if newest else 0,
    }
