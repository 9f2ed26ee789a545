"""
The rollout rules, evaluated by GrowthBook's engine. This module does not use Django.

Buckets. The engine hashes the seed and the unit's id to a bucket from 0 to 1 (hash version 2: 32-bit FNV-1a, applied
twice, modulo 10,000). A rule applies to the units whose bucket lies in its `range`. The seed of a rollout is the flag's
key, so that two flags at 25 % reach different units; the seed of an experiment is the seed of its phase.

Why units keep their variant when a percentage grows. Variant i with share w starts at the sum s of the shares before
it, at any percentage. At the fraction p of units it takes the range [s, s + w * p]. A larger p only moves the end
of each range, within the variant's own segment [s, s + w]: no unit leaves the flag, and no unit changes its variant. If
the ranges were packed one after another ([0, w1 * p], [w1 * p, ...]), a larger p would move the units at each border to
another variant. Changed shares move the starts, and therefore do change variants.

Rules use `range` and never `coverage`: GrowthBook's SDKs in other languages agree only on `range`. The golden file
tests/unit/golden/buckets.json pins the buckets; a different hash would reassign every unit of every flag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

from growthbook.common_types import (
    AbstractStickyBucketService,
    EvaluationContext,
    Feature,
    GlobalContext,
    Options,
    StackContext,
    UserContext,
)
from growthbook.core import eval_feature

from flags.experiments.rules import (
    DEFAULT,
    HASH_ATTRIBUTE,
    HASH_VERSION,
    OFF,
    ON,
    ExperimentArm,
    ExposedVariant,
    FlagAnswer,
    RunningExperiment,
    experiment_rules,
    sticky_bucket_docs,
)

MAX_CACHED_ANSWERS = 20_000
"""Answers that a process caches for one state of the flags, about 0.3 KB each. Changes the speed."""


@dataclass(frozen=True, slots=True)
class RolloutRule:
    """A rule that serves a value to part of the units."""

    condition: Mapping[str, Any] | None = None
    """A GrowthBook condition; None: all units."""
    percentage: float = 100
    serves: str = ""
    """An arm's key, `default`, or empty: the on value, or the arms by their shares."""
    attributes: frozenset[str] = frozenset()
    """The attributes that the condition needs, besides the id."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A flag as plain values."""

    key: str
    is_enabled: bool
    percentage: float
    on_value: object = True
    default_value: object = False
    off_value: object = False
    arms: tuple[ExperimentArm, ...] = ()
    """Variants and their shares (0 to 1) of the units that have the flag."""
    rules: tuple[RolloutRule, ...] = ()
    prerequisites: tuple[tuple[str, object], ...] = ()
    """Pairs of another flag's key and the value that flag must have for the unit."""


class ReadOnlyStickyBuckets(AbstractStickyBucketService):
    """Makes the engine use the given assignments and save none: new assignments are recorded by exposures."""

    def get_assignments(self, attributeName: str, attributeValue: str) -> dict[str, Any] | None:  # noqa: N803
        return None  # pragma: no cover - GrowthBook requires the method; its `eval_feature` does not call it

    def save_assignments(self, doc: dict[str, Any]) -> None:
        return None


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag with the facts that the engine does not need."""

    rollout: Rollout
    attributes: frozenset[str]
    """The attributes that the rules of this flag and of its prerequisites need, besides the id."""
    experiments: tuple[RunningExperiment, ...]

    @property
    def is_static(self) -> bool:
        """Whether the answer for a unit depends on the unit's id only, and on nothing that may change."""
        return not self.attributes and not self.sticky_experiments

    @property
    def sticky_experiments(self) -> list[RunningExperiment]:
        """Return the flag's experiments that keep earlier assignments."""
        return [row for row in self.experiments if row.has_earlier_assignments]


@dataclass(frozen=True, slots=True)
class CompiledFlags:
    """The engine's input; built once per change, not per request."""

    context: GlobalContext
    flags: Mapping[str, CompiledFlag] = field(default_factory=dict)
    experiments: Mapping[str, RunningExperiment] = field(default_factory=dict)
    """By the experiment's key."""
    features: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Flag key to GrowthBook feature."""
    digest: str = ""
    """Hash of the payload; it differs if any flag or experiment differs."""
    answer_static: Callable[[str, str], FlagAnswer] = field(init=False, compare=False, repr=False)
    """Returns the answer of a static flag, by key, for a unit. Caches the answers that were used last."""

    def __post_init__(self) -> None:
        cached = lru_cache(MAX_CACHED_ANSWERS)(partial(evaluate_with_engine, self))
        object.__setattr__(self, "answer_static", cached)


def compile_rollouts(rollouts: Iterable[Rollout], experiments: Iterable[RunningExperiment] = ()) -> CompiledFlags:
    """Return the flags and their running experiments in the engine's form."""
    flags = {flag.key: flag for flag in rollouts}
    by_key = {row.key: row for row in experiments}
    experiments_by_flag = {key: tuple(row for row in by_key.values() if row.flag_key == key) for key in flags}
    features = {key: build_feature(flag, experiments_by_flag[key]) for key, flag in flags.items()}
    compiled_flags = {
        key: CompiledFlag(flag, required_attributes(flag, flags), experiments_by_flag[key])
        for key, flag in flags.items()
    }
    return CompiledFlags(
        context=GlobalContext(
            options=Options(sticky_bucket_service=ReadOnlyStickyBuckets()),
            features={key: Feature(**feature) for key, feature in features.items()},
        ),
        flags=compiled_flags,
        experiments=by_key,
        features=features,
        digest=payload_digest(features, by_key),
    )


def payload_digest(features: Mapping[str, object], experiments: Mapping[str, RunningExperiment]) -> str:
    """Return a hash of the payload (16 hexadecimal digits)."""
    content = [features, {key: asdict(row) for key, row in experiments.items()}]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def required_attributes(flag: Rollout, flags: Mapping[str, Rollout]) -> frozenset[str]:
    """Return the attributes that the rules of *flag* and of its prerequisites need."""
    attributes: set[str] = set()
    todo, visited = [flag.key], set[str]()
    while todo:
        key = todo.pop()
        if key in visited or key not in flags:
            continue
        visited.add(key)
        attributes.update(*(rule.attributes for rule in flags[key].rules))
        todo += [required_key for required_key, _ in flags[key].prerequisites]
    return frozenset(attributes)


def build_feature(rollout: Rollout, experiments: Iterable[RunningExperiment] = ()) -> dict[str, Any]:
    """
    Return the flag as a GrowthBook feature: prerequisites, then rules, then experiments, then the rollout.

    A flag that is off has no rules, so that turning it off also stops its experiments.
    """
    if not rollout.is_enabled:
        return {"defaultValue": rollout.off_value}
    rules = [
        engine_rule
        for number, rule in enumerate(rollout.rules, 1)
        for engine_rule in build_engine_rules(rollout, rule, f"rule:{number}")
    ]
    rollout_rules = build_engine_rules(rollout, RolloutRule(percentage=rollout.percentage), "rollout")
    ordered = [*rules, *experiment_rules(experiments, rollout.default_value), *rollout_rules]
    if parents := [{"id": key, "condition": {"value": value}} for key, value in rollout.prerequisites]:
        # A failed prerequisite skips every rule, which leaves the default value. With the engine's own `gate` the value
        # would be null.
        ordered = [rule | {"parentConditions": parents} for rule in ordered]
    return {"defaultValue": rollout.default_value, "rules": ordered}


def build_engine_rules(rollout: Rollout, rule: RolloutRule, name: str) -> list[dict[str, Any]]:
    """Return the engine's rules for one rule: one for each value it serves, each with its range of buckets."""
    arms = {arm.key: arm for arm in rollout.arms}
    condition = {"condition": rule.condition} if rule.condition else {}
    if rule.serves == DEFAULT:
        served = [(DEFAULT, rollout.default_value, 0.0, 1.0)]
    elif rule.serves:
        served = [(rule.serves, arms[rule.serves].value, 0.0, 1.0)]
    elif arms:
        starts = accumulate((arm.share for arm in rollout.arms), initial=0.0)
        served = [(arm.key, arm.value, start, arm.share) for start, arm in zip(starts, rollout.arms, strict=False)]
    else:
        served = [(ON, rollout.on_value, 0.0, 1.0)]
    share = rule.percentage / 100
    return [
        {"id": f"{name}:{served_name}", "force": value} | condition | unit_range(rollout.key, start, width, share)
        for served_name, value, start, width in served
        if width * share > 0
    ]


def unit_range(seed: str, start: float, width: float, share: float) -> dict[str, Any]:
    """
    Return the engine's range for the fraction *share* of the segment that begins at *start*, see the module docstring.

    A rule for all units has no range: it then also applies to a request without a unit id.
    """
    if width == 1.0 and share == 1.0:
        return {}
    # The last arm must end at exactly 1; rounding may leave the sum of the shares slightly below.
    end = 1.0 if share == 1.0 and start + width > 1 - 1e-9 else start + width * share
    return {"hashAttribute": HASH_ATTRIBUTE, "hashVersion": HASH_VERSION, "seed": seed, "range": [start, end]}


def evaluate_with_engine(
    compiled: CompiledFlags,
    key: str,
    unit_id: str,
    assignments: Mapping[str, str] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> FlagAnswer:
    """Return the flag's value for the unit, given its earlier assignments; the value None if there is no such flag."""
    compiled_flag = compiled.flags.get(key)
    if compiled_flag is None:
        return FlagAnswer(None)
    if not compiled_flag.rollout.is_enabled:
        return FlagAnswer(compiled_flag.rollout.off_value)
    evaluated = eval_feature(key, build_evaluation_context(compiled, unit_id, assignments or {}, attributes or {}))
    result = evaluated.experimentResult
    if evaluated.experiment is None or result is None:
        return FlagAnswer(evaluated.value, rule=evaluated.ruleId or "")
    row = compiled.experiments[evaluated.experiment.key]
    arm = row.get_arm(result.key)
    exposed = None if result.stickyBucketUsed else ExposedVariant(row.experiment_id, row.phase_id, arm.key, arm.share)
    return FlagAnswer(evaluated.value, arm.key, arm.config, exposed, f"experiment:{row.key}")


def variant_name(compiled_flag: CompiledFlag, answer: FlagAnswer) -> str:
    """Return the name of the served value: a variant's name, or on, default, off."""
    if not compiled_flag.rollout.is_enabled:
        return OFF
    if answer.variant or not answer.rule or answer.rule.startswith("holdout:"):
        return answer.variant or DEFAULT
    return answer.rule.rpartition(":")[2]


def build_evaluation_context(
    compiled: CompiledFlags, unit_id: str, assignments: Mapping[str, str], attributes: Mapping[str, object]
) -> EvaluationContext:
    """Return the engine's context for one unit."""
    user = UserContext(
        attributes={**attributes, "id": unit_id},
        sticky_bucket_assignment_docs=sticky_bucket_docs(unit_id, assignments) if assignments else {},
    )
    return EvaluationContext(user=user, global_ctx=compiled.context, stack=StackContext(evaluated_features=set()))
