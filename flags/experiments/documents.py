"""An experiment as one document, as flags have theirs: what the API takes, what is checked, what the record keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models
from rest_framework import serializers

from flags.documents import Document, NameField, StrictSerializer, ValueField, value_kind_error
from flags.models import ExclusionGroup, Experiment, Flag, Holdout, Metric
from flags.services.errors import RefusedError

State = Experiment.State
ACTIVE_STATES = (State.RUNNING, State.PAUSED)
STEP_ACTIONS = frozenset({"started", "paused", "resumed", "phased", "widened", "finished"})
"""What flags/services/experiments.py does to one that runs; any other change leaves these fields alone."""
CHANGEABLE_WHILE_RUNNING = frozenset({"hypothesis", "metrics", "minimum_effect"})
"""What may change while an experiment runs: nothing of who gets what, nor of what decides."""
REFERENCES: Mapping[str, models.Manager[Any]] = {
    "flag": Flag.objects,
    "group": ExclusionGroup.objects,
    "holdout": Holdout.objects,
    "goal": Metric.objects,
}
"""Rows of others that an experiment names by their keys."""


class ExperimentVariantDocument(StrictSerializer):
    key = NameField()
    weight = serializers.FloatField(min_value=0, default=50)
    is_control = serializers.BooleanField(default=False)
    value = ValueField(default=True, help_text="The flag's value for this variant.")
    config = serializers.DictField(default=dict, help_text="Settings: the same names and types in each variant.")


class ExperimentDocument(StrictSerializer):
    key = NameField()
    flag = serializers.CharField(help_text="The flag that the experiment decides for its units.")
    hypothesis = serializers.CharField(help_text="What you expect to change, for whom, and why.")
    unit = serializers.ChoiceField(choices=Experiment.Unit.choices, default=Experiment.Unit.MEMBER)
    traffic_percentage = serializers.FloatField(min_value=0, max_value=100, default=100)
    group = serializers.CharField(allow_null=True, default=None, help_text="Experiments not to meet in a unit.")
    slot_from = serializers.FloatField(min_value=0, max_value=100, default=0)
    slot_to = serializers.FloatField(min_value=0, max_value=100, default=100)
    holdout = serializers.CharField(allow_null=True, default=None, help_text="Units that no experiment touches.")
    is_sticky = serializers.BooleanField(default=True, help_text="A new phase leaves those exposed where they were.")
    goal = serializers.CharField(allow_null=True, default=None, help_text="The metric that decides.")
    metrics = serializers.ListField(child=NameField(), default=list, help_text="Reported beside it; guardrails too.")
    minimum_effect = serializers.FloatField(min_value=0.0001, default=0.05, help_text="Lift of the goal worth finding.")
    is_bandit = serializers.BooleanField(default=False, help_text="Weights follow what is learned.")
    bandit_floor = serializers.FloatField(min_value=0.01, max_value=0.5, default=0.05)
    variants = ExperimentVariantDocument(many=True, default=list)
    state = serializers.ChoiceField(choices=State.choices, default=State.DRAFT)
    phase = serializers.IntegerField(min_value=0, default=0)
    decision = serializers.CharField(allow_blank=True, default="", max_length=64)
    decision_reason = serializers.CharField(allow_blank=True, default="")

    def validate(self, data: Document) -> Document:
        wrong = missing_references(data) | {
            name: found for name, found in (("variants", experiment_variants_errors(data)),) if found
        }
        if data["slot_from"] >= data["slot_to"]:
            wrong["slot_to"] = "The slot must end above where it begins."
        keys = [row["key"] for row in data["variants"]]
        if data["decision"] and data["decision"] not in keys:
            wrong["decision"] = f"There is no variant {data['decision']!r}."
        if data["is_bandit"] and data["bandit_floor"] * max(len(keys), 1) > 1:
            wrong["bandit_floor"] = "So many variants cannot all have that much."
        if data["state"] in ACTIVE_STATES and not wrong:
            wrong |= start_errors(data)
        if wrong:
            raise serializers.ValidationError(wrong)
        return data


def missing_references(data: Document) -> dict[str, Any]:
    """Return which of the things that the document names are not there."""
    wrong: dict[str, Any] = {
        name: f"There is no {name} {data[name]!r}."
        for name, rows in REFERENCES.items()
        if data[name] and not rows.filter(key=data[name]).exists()
    }
    known = set(Metric.objects.filter(key__in=data["metrics"]).values_list("key", flat=True))
    if strange := [key for key in data["metrics"] if key not in known]:
        wrong["metrics"] = [f"There is no metric {key!r}." for key in strange]
    return wrong


def experiment_variants_errors(data: Document) -> dict[str, Any]:
    """Return what is wrong with the variants, by their number."""
    flag = Flag.objects.filter(key=data["flag"]).first()
    rows, wrong = data["variants"], dict[str, Any]()
    for number, row in enumerate(rows):
        problem = value_kind_error(flag.kind, row["value"]) if flag else ""
        if row["key"] in [other["key"] for other in rows[:number]]:
            wrong[str(number)] = {"key": f"There are two variants {row['key']}."}
        elif problem:
            wrong[str(number)] = {"value": problem}
        elif config_types(row["config"]) != config_types(rows[0]["config"]):
            wrong[str(number)] = {"config": "Each variant has settings of the same names and types."}
    if sum(row["is_control"] for row in rows) > 1:
        wrong["0"] = {"is_control": "There is one control."}
    return wrong


def config_types(config: Mapping[str, object]) -> dict[str, str]:
    """Return what kind of value each setting has; 1 and 1.5 are of one kind."""
    return {
        name: "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
        for name, value in config.items()
    }


def start_errors(data: Document) -> dict[str, Any]:
    """Return why this may not run."""
    wrong: dict[str, Any] = {}
    rows = data["variants"]
    if len(rows) < 2 or sum(row["is_control"] for row in rows) != 1:
        wrong["variants"] = ["It takes at least two variants, one of them the control."]
    elif any(row["weight"] <= 0 for row in rows):
        wrong["variants"] = ["Each variant needs a weight above 0."]
    if not data["goal"]:
        wrong["goal"] = "Name the metric that decides, before anybody sees a result."
    if Flag.objects.filter(key=data["flag"], is_archived=True).exists():
        wrong["flag"] = f"{data['flag']} is archived."
    others = Experiment.objects.filter(state__in=ACTIVE_STATES).exclude(key=data["key"])
    if data["group"]:
        in_group = others.filter(group__key=data["group"])
        met = in_group.filter(slot_from__lt=data["slot_to"], slot_to__gt=data["slot_from"]).first()
        if met:
            wrong["slot_from"] = f"{met.key} has {met.slot_from:g} to {met.slot_to:g} % of the group."
        others = others.exclude(group__key=data["group"])
    if met := others.filter(flag__key=data["flag"]).first():
        wrong["flag"] = f"{met.key} runs on {data['flag']}: finish it, or put both into one group."
    return wrong


def refuse_frozen_changes(before: Document | None, after: Document, action: str) -> None:
    """Raise `RefusedError` if *action* may not change what it changes: who gets what is frozen while it runs."""
    was = before or {"state": State.DRAFT, "phase": 0, "decision": "", "decision_reason": ""}
    changed = {name for name, value in after.items() if was.get(name) != value}
    if action in STEP_ACTIONS:
        return
    if changed & {"state", "phase", "decision", "decision_reason"}:
        raise RefusedError("An experiment is a draft until it is started; it is started, paused and finished, not set.")
    if was["state"] == State.FINISHED:
        raise RefusedError(f"{after['key']} is finished: its record stays as it is. Make another.")
    if was["state"] in ACTIVE_STATES and (locked := sorted(changed - CHANGEABLE_WHILE_RUNNING)):
        raise RefusedError(
            f"{after['key']} runs: {', '.join(locked)} cannot change under those who are in it. Begin a new phase, or "
            "finish it."
        )


def phase_variants(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the variants of a phase: each with its share of the experiment's units, all together 1."""
    whole = sum(row["weight"] for row in rows)
    return [
        {
            "key": row["key"],
            "share": row["weight"] / whole,
            "is_control": row["is_control"],
            "value": row["value"],
            "config": row["config"],
        }
        for row in rows
    ]


def experiment_document(experiment: Experiment) -> Document:
    """Return the experiment and all that hangs on it."""
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
