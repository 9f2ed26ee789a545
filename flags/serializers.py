"""
The serializers that validate the documents of flags, segments and rollout plans (`flags.documents`).

The entry points and `flags.services.change` share them, so that each value is validated in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils.translation import gettext, ngettext
from rest_framework import serializers

from access.limited_fields import LimitedListField
from access.typed_fields import StrictSerializer, TypedField
from flags import gauges
from flags.attributes import AttributeType, registered_attributes
from flags.documents import RESERVED_VARIANT_NAMES, Document, guardrail_variants
from flags.experiments.rules import DEFAULT
from flags.models import Condition, Flag, Guardrail, RolloutPlan, Segment
from flags.versions import is_at_least, is_version
from values.numbers import JSON_NUMBER
from values.text import find_storage_problem
from values.types import Id, Time, number_from, whole_number_from

MAX_LISTED_IDS = 1000
MAX_PARTS = 100
"""Variants, rules, conditions, phases and the like of one document."""
MAX_NUMBER, MAX_COUNT = 1e12, 2**31 - 1
MIN_EXPONENT = 1e16
"""The smallest float that JSON writes with an exponent and no point."""
Percentage, Weight = number_from(0, 100), number_from(0, MAX_NUMBER)
TEXT_OPERATORS = frozenset({"contains", "starts_with", "version_at_least", "version_below"})
"""The operators of conditions that compare texts only."""
ORDER_OPERATORS = frozenset({"above", "at_least", "below", "at_most"})
ANY_TYPE_OPERATORS = frozenset({"in", "not_in", "known", "unknown"})
TYPE_RULES: dict[AttributeType, tuple[frozenset[str], tuple[type, ...]]] = {
    AttributeType.TEXT: (ANY_TYPE_OPERATORS | TEXT_OPERATORS | ORDER_OPERATORS, (str,)),
    AttributeType.TEXTS: (ANY_TYPE_OPERATORS | {"contains", "starts_with"}, (str,)),
    AttributeType.NUMBER: (ANY_TYPE_OPERATORS | ORDER_OPERATORS, (int, float)),
    AttributeType.BOOLEAN: (ANY_TYPE_OPERATORS, (bool,)),
}
"""By type of an attribute: the operators that can be true of it, and the types of the values it is compared with."""


class NameField(serializers.RegexField):
    """A key or a name: letters, digits, hyphen and underscore."""

    def __init__(self, **options: Any) -> None:
        super().__init__(r"^[-a-zA-Z0-9_]+$", max_length=64, **options)


class ValueField(serializers.JSONField):
    """A flag's value: a boolean, string, number, object or list."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> Any:
        """Return the value. Raises `ValidationError` for one that no database can store."""
        if problem := find_storage_problem(data):
            raise serializers.ValidationError(
                gettext("The value {problem}.").format(problem=gettext(problem)), code="invalid"
            )
        return stored_form(super().to_internal_value(data))


class SettingsField(serializers.DictField):
    """An object of JSON values."""

    child = ValueField()

    def to_internal_value(self, data: Any) -> Any:
        """Return the object. Raises `ValidationError` for a name that no database can store, too."""
        if problem := find_storage_problem(data):
            raise serializers.ValidationError(
                gettext("The value {problem}.").format(problem=gettext(problem)), code="invalid"
            )
        return super().to_internal_value(data)


def stored_form(value: Any) -> Any:
    """Return a JSON value as both databases return it: PostgreSQL has no -0.0, and 1e16 is a whole number to it."""
    if isinstance(value, float):
        return int(value) if abs(value) >= MIN_EXPONENT else value + 0.0
    if isinstance(value, dict):
        return {name: stored_form(item) for name, item in value.items()}
    return list(map(stored_form, value)) if isinstance(value, list) else value


class VariantDocument(StrictSerializer):
    name = NameField()
    value = ValueField()
    weight = TypedField(Weight, default=1)


class RuleDocument(StrictSerializer):
    segment = serializers.CharField(allow_null=True, default=None, help_text="A segment's key; null: all units.")
    percentage = TypedField(Percentage, default=100)
    serves = serializers.CharField(
        allow_blank=True,
        default="",
        help_text="A variant's name, `default`, or empty: the on value, or the variants by weight.",
    )
    note = serializers.CharField(allow_blank=True, default="", max_length=200)


class PrerequisiteDocument(StrictSerializer):
    flag = serializers.CharField()
    value = ValueField(default=True)


class FlagDocument(StrictSerializer):
    key = NameField()
    description = serializers.CharField(allow_blank=True, default="", max_length=300)
    kind = serializers.ChoiceField(choices=Flag.Kind.choices, default=Flag.Kind.BOOL)
    is_enabled = serializers.BooleanField(default=False)
    rollout_percentage = TypedField(Percentage, default=0)
    on_value = ValueField(default=True)
    default_value = ValueField(default=False)
    off_value = ValueField(default=False)
    variants = VariantDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    rules = RuleDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    prerequisites = PrerequisiteDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    starts_at = TypedField(Time, allow_null=True, default=None)
    ends_at = TypedField(Time, allow_null=True, default=None)
    expires_at = TypedField(Time, allow_null=True, default=None)
    tags = LimitedListField(child=NameField(), default=list, max_length=MAX_PARTS)
    owner = serializers.CharField(allow_blank=True, default="", max_length=100)
    needs_approval = serializers.BooleanField(default=False)
    is_archived = serializers.BooleanField(default=False)

    def validate(self, data: Document) -> Document:
        errors: dict[str, Any] = {}
        for name in ("on_value", "default_value", "off_value"):
            if error := value_kind_error(data["kind"], data[name]):
                errors[name] = error
        variants: dict[str, dict[str, str]] = {}
        for number, row in enumerate(data["variants"]):
            if row_errors := variant_errors(data["kind"], row, [v["name"] for v in data["variants"][:number]]):
                variants[str(number)] = row_errors
        if data["variants"] and not variants and sum(row["weight"] for row in data["variants"]) <= 0:
            variants["0"] = {"weight": gettext("At least one variant needs a weight above 0.")}
        names = {row["name"] for row in data["variants"]} | {"", DEFAULT}
        rules = {
            str(number): {"serves": gettext("There is no variant {variant}.").format(variant=repr(row["serves"]))}
            for number, row in enumerate(data["rules"])
            if row["serves"] not in names
        }
        if data["starts_at"] and data["ends_at"] and data["starts_at"] >= data["ends_at"]:
            errors["ends_at"] = gettext("The end must be after the start.")
        errors |= {name: rows for name, rows in (("variants", variants), ("rules", rules)) if rows}
        errors |= reference_errors(data)
        if errors:
            raise serializers.ValidationError(errors)
        return data


def value_kind_error(kind: str, value: object) -> str:
    """Return an error message if *value* does not fit a flag of this kind, else an empty string."""
    fits = {
        Flag.Kind.BOOL: isinstance(value, bool),
        Flag.Kind.STRING: isinstance(value, str),
        Flag.Kind.NUMBER: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
        Flag.Kind.JSON: isinstance(value, dict | list),
    }[Flag.Kind(kind)]
    text = gettext("{value} is not a valid value for a flag of kind {kind}.")
    return "" if fits else text.format(value=repr(value), kind=kind)


def variant_errors(kind: str, row: Document, before: Sequence[str]) -> dict[str, str]:
    """Return the errors of one variant by field. *before* are the names of the variants above it."""
    if row["name"] in RESERVED_VARIANT_NAMES:
        return {"name": gettext("{name} is a reserved name. Choose another name.").format(name=row["name"])}
    if row["name"] in before:
        return {"name": gettext("Two variants are named {name}. Names must be unique.").format(name=row["name"])}
    error = value_kind_error(kind, row["value"])
    return {"value": error} if error else {}


def reference_errors(data: Document) -> dict[str, Any]:
    """Return errors for segments and flags that do not exist, and for prerequisites that form a cycle."""
    errors: dict[str, Any] = {}
    named = {row["segment"] for row in data["rules"] if row["segment"]}
    if missing := named - set(Segment.objects.filter(key__in=named).values_list("key", flat=True)):
        errors["rules"] = [gettext("There is no segment {key}.").format(key=key) for key in sorted(missing)]
    required = {row["flag"]: row["value"] for row in data["prerequisites"]}
    kinds = dict(Flag.objects.filter(key__in=required, is_archived=False).values_list("key", "kind"))
    messages = [gettext("There is no flag {key}.").format(key=key) for key in required if key not in kinds]
    messages += [error for key, kind in kinds.items() if (error := value_kind_error(kind, required[key]))]
    if data["key"] in required or has_prerequisite_cycle(data["key"], required):
        messages.append(gettext("A flag cannot require itself, directly or through other flags."))
    if len(required) < len(data["prerequisites"]):
        messages.append(gettext("Name each required flag only once."))
    return errors | ({"prerequisites": messages} if messages else {})


def has_prerequisite_cycle(key: str, required_keys: Iterable[str]) -> bool:
    """Return whether one of the flags *required_keys* requires *key*, directly or through other flags."""
    todo, visited = list(required_keys), set[str]()
    while todo:
        current = todo.pop()
        if current == key:
            return True
        if current not in visited:
            visited.add(current)
            todo += Flag.objects.filter(required_by__flag__key=current).values_list("key", flat=True)
    return False


class ConditionDocument(StrictSerializer):
    attribute = serializers.RegexField(regex=r"^[\w.-]+$", max_length=64)
    operator = serializers.ChoiceField(choices=Condition.Operator.choices, default=Condition.Operator.IN)
    values = LimitedListField(child=ValueField(), default=list, max_length=MAX_LISTED_IDS)

    def validate_attribute(self, name: str) -> str:
        if name == "id":
            raise serializers.ValidationError(
                gettext("Put ids on the segment's lists instead: ids on the lists are erased with the member.")
            )
        return name

    def validate(self, data: Document) -> Document:
        needs_none = data["operator"] in (Condition.Operator.KNOWN, Condition.Operator.UNKNOWN)
        takes_many = data["operator"] in ("in", "not_in", "contains", "starts_with")
        if needs_none and data["values"]:
            raise serializers.ValidationError(
                {"values": gettext("This operator takes no value. Leave the list empty.")}
            )
        if not needs_none and not data["values"]:
            raise serializers.ValidationError({"values": gettext("Give a value to compare with.")})
        if not needs_none and not takes_many and len(data["values"]) > 1:
            raise serializers.ValidationError({"values": gettext("This operator takes one value.")})
        if any(isinstance(value, dict | list) or value is None for value in data["values"]):
            raise serializers.ValidationError({"values": gettext("Give strings, numbers, true or false.")})
        if error := operand_error(data["operator"], data["values"]):
            raise serializers.ValidationError({"values": error})
        if errors := attribute_errors(data["attribute"], data["operator"], data["values"]):
            raise serializers.ValidationError(errors)
        return data


def attribute_errors(name: str, operator: str, operands: Sequence[object]) -> dict[str, str]:
    """Return why the operator can never be true of a registered attribute with these values, by field; or nothing."""
    attribute = registered_attributes().get(name)
    if attribute is None:
        return {}
    operators, value_types = TYPE_RULES[attribute.type]
    if operator not in operators:
        text = gettext("{name} is a {type}, of which this is never true.")
        return {"operator": text.format(name=name, type=gettext(attribute.type))}
    if wrong := [value for value in operands if type(value) not in value_types]:
        quoted = ", ".join(f'"{value}"' for value in wrong)
        written = quoted if attribute.type.is_text else gettext("without quotes")
        text = gettext("{name} is a {type}. Write {written}.")
        return {"values": text.format(name=name, type=gettext(attribute.type), written=written)}
    return {}


def operand_error(operator: str, operands: Sequence[object]) -> str:
    """Return why the operator can never be true of any unit with these values, or an empty string."""
    if operator in ("version_at_least", "version_below") and not all(map(is_version, operands)):
        return gettext('Give a version as a string in quotes, such as "1.10" or "2.0.0-rc.1".')
    if operator in ("contains", "starts_with") and not all(isinstance(value, str) and value for value in operands):
        return gettext("Give strings that are not empty: this operator compares texts.")
    if operator in ORDER_OPERATORS and any(isinstance(value, bool) for value in operands):
        return gettext("Give a number, or a text such as a date: true and false have no order.")
    if operator in ORDER_OPERATORS and any(map(is_number_in_quotes, operands)):
        return gettext("Write the number without quotes: texts are compared letter by letter.")
    return ""


def is_number_in_quotes(value: object) -> bool:
    """Return whether *value* is a text that states a number."""
    return isinstance(value, str) and JSON_NUMBER.fullmatch(value.strip()) is not None


def find_contradiction(conditions: Sequence[Document]) -> str:
    """
    Return why no unit can meet all *conditions*, or an empty string.

    An attribute cannot be unknown and be compared, be one of some values and none of them, or be after a number or a
    version and before one that is not after it.
    """
    names = dict.fromkeys(row["attribute"] for row in conditions)
    for name in names:
        rows = [(row["operator"], row["values"]) for row in conditions if row["attribute"] == name]
        if any(operator == "unknown" for operator, _ in rows) and any(operator != "unknown" for operator, _ in rows):
            return gettext("{name} cannot be unknown and also be compared.").format(name=name)
        refused = {value for operator, values in rows if operator == "not_in" for value in values}
        if any(operator == "in" and refused.issuperset(values) for operator, values in rows):
            return gettext("{name} cannot be one of values that are all excluded.").format(name=name)
        for low in rows:
            for high in rows:
                if are_apart(*low, *high):
                    bounds = [f"{operator} {values[0]}" for operator, values in (low, high)]
                    text = gettext("{name} cannot be {one} and {other}.")
                    return text.format(name=name, one=bounds[0], other=bounds[1])
    return ""


def are_apart(low_operator: str, low: Sequence[Any], high_operator: str, high: Sequence[Any]) -> bool:
    """Return whether no value is above the first bound and below the second one."""
    if (low_operator, high_operator) == ("version_at_least", "version_below"):
        return is_at_least(low[0], high[0])
    if low_operator not in ("above", "at_least") or high_operator not in ("below", "at_most"):
        return False
    if isinstance(low[0], str) is not isinstance(high[0], str):
        return False
    is_open = low_operator == "above" or high_operator == "below"
    return bool(low[0] >= high[0] if is_open else low[0] > high[0])


class SegmentDocument(StrictSerializer):
    key = NameField()
    description = serializers.CharField(allow_blank=True, default="", max_length=300)
    match = serializers.ChoiceField(choices=Segment.Match.choices, default=Segment.Match.ALL)
    conditions = ConditionDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    allowed_ids = LimitedListField(child=TypedField(Id), default=list, max_length=MAX_LISTED_IDS)
    denied_ids = LimitedListField(child=TypedField(Id), default=list, max_length=MAX_LISTED_IDS)

    def validate(self, data: Document) -> Document:
        if data["match"] == Segment.Match.ALL and (problem := find_contradiction(data["conditions"])):
            text = gettext("No unit can meet all conditions: {problem}").format(problem=problem)
            raise serializers.ValidationError({"conditions": [text]})
        return data


class RolloutPhaseDocument(StrictSerializer):
    percentage = TypedField(Percentage)
    hours = TypedField(Weight, default=336)
    note = serializers.CharField(allow_blank=True, default="", max_length=200)


class GuardrailDocument(StrictSerializer):
    gauge = serializers.CharField(max_length=64)
    variant = serializers.CharField(allow_blank=True, default="", max_length=64)
    bound = serializers.ChoiceField(choices=Guardrail.Bound.choices, default=Guardrail.Bound.AT_MOST)
    threshold = TypedField(number_from(-MAX_NUMBER, MAX_NUMBER))
    window_minutes = TypedField(number_from(0.1, MAX_NUMBER), default=60)
    min_samples = TypedField(whole_number_from(0, MAX_COUNT), default=100)
    on_breach = serializers.ChoiceField(choices=Guardrail.OnBreach.choices, default=Guardrail.OnBreach.ROLL_BACK)

    def validate_gauge(self, name: str) -> str:
        if name not in gauges.describe_gauges():
            text = gettext("Unknown gauge {name}. Choose one of {names}.")
            raise serializers.ValidationError(text.format(name=repr(name), names=", ".join(gauges.describe_gauges())))
        return name


class RolloutPlanDocument(StrictSerializer):
    key = NameField()
    flag = serializers.CharField(allow_null=True, default=None, help_text="null: the plan is a template.")
    description = serializers.CharField(allow_blank=True, default="", max_length=300)
    phases = RolloutPhaseDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    guardrails = GuardrailDocument(many=True, default=list, max_length=MAX_PARTS)  # type: ignore[call-arg]
    state = serializers.ChoiceField(choices=RolloutPlan.State.choices, default=RolloutPlan.State.DRAFT)
    phase = TypedField(whole_number_from(0, MAX_PARTS), default=0)
    phase_started_at = TypedField(Time, allow_null=True, default=None)

    def validate(self, data: Document) -> Document:
        if not data["phases"]:
            raise serializers.ValidationError({"phases": gettext("Give at least one phase.")})
        if data["phase"] > len(data["phases"]):
            count = len(data["phases"])
            text = ngettext("The plan has only {n} phase.", "The plan has only {n} phases.", count)
            raise serializers.ValidationError({"phase": text.format(n=count)})
        if data["flag"] and not Flag.objects.filter(key=data["flag"], is_archived=False).exists():
            raise serializers.ValidationError({"flag": gettext("There is no flag {key}.").format(key=data["flag"])})
        if data["state"] != RolloutPlan.State.DRAFT and not data["flag"]:
            raise serializers.ValidationError({"flag": gettext("A template cannot run. Copy it for a flag.")})
        if data["flag"] and (errors := guardrail_errors(data)):
            raise serializers.ValidationError({"guardrails": errors})
        return data


def guardrail_errors(plan: Document) -> dict[str, dict[str, str]]:
    """
    Return the errors of guardrails that watch a variant that the plan's flag does not have, by position.

    Such a guardrail has no samples, so the plan would never leave its phase.
    """
    names = guardrail_variants(plan["flag"])
    text = gettext("The flag {flag} has no variant {variant}.")
    return {
        str(number): {"variant": text.format(flag=plan["flag"], variant=repr(row["variant"]))}
        for number, row in enumerate(plan["guardrails"])
        if row["variant"] not in names
    }
