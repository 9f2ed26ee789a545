"""
Who gets what: the pure rule, evaluated by GrowthBook's engine. No Django here.

A rule says `range` and never `coverage`: the engine's twins in other languages agree on the first only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
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
    HASH_ATTRIBUTE,
    HASH_VERSION,
    ExperimentArm,
    ExposedVariant,
    FlagAnswer,
    RunningExperiment,
    experiment_rules,
    sticky_bucket_docs,
)

OFF, ON, DEFAULT = "off", "on", "default"
"""Names of what a flag without variants serves, beside the names of variants."""


@dataclass(frozen=True, slots=True)
class RolloutRule:
    """Whom the flag treats in their own way."""

    condition: Mapping[str, Any] | None = None
    """As GrowthBook writes one; None: everybody."""
    percentage: float = 100
    serves: str = ""
    """An arm's key, `default`, or empty: the on value, or arms by their shares."""
    attributes: frozenset[str] = frozenset()
    """What the condition asks of a unit, besides its id."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A flag as the rule sees it."""

    key: str
    is_enabled: bool
    percentage: float
    on_value: object = True
    default_value: object = False
    off_value: object = False
    arms: tuple[ExperimentArm, ...] = ()
    """Variants and their shares of those who have the flag."""
    rules: tuple[RolloutRule, ...] = ()
    prerequisites: tuple[tuple[str, object], ...] = ()
    """Another flag's key, and the value that it must have for the unit."""


class ReadOnlyStickyBuckets(AbstractStickyBucketService):
    """Tells the engine to heed the assignments that it is handed; exposures, not the engine, record new ones."""

    def get_assignments(self, attributeName: str, attributeValue: str) -> dict[str, Any] | None:  # noqa: N803
        return None

    def save_assignments(self, doc: dict[str, Any]) -> None:
        return None


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """What is known of a flag beside what the engine evaluates."""

    rollout: Rollout
    attributes: frozenset[str]
    """What its rules, and those of the flags that it needs, ask of a unit besides its id."""
    experiments: tuple[RunningExperiment, ...]

    @property
    def sticky_experiments(self) -> list[RunningExperiment]:
        """Return the flag's experiments in which an earlier assignment holds."""
        return [row for row in self.experiments if row.has_earlier_assignments]


@dataclass(frozen=True, slots=True)
class CompiledFlags:
    """What the engine evaluates from; made once per change, not per request."""

    context: GlobalContext
    flags: Mapping[str, CompiledFlag] = field(default_factory=dict)
    experiments: Mapping[str, RunningExperiment] = field(default_factory=dict)
    """By the experiment's key."""
    features: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Each flag as GrowthBook's payload has it."""
    digest: str = ""
    """Another if anything in it is another."""


def compile_rollouts(rollouts: Iterable[Rollout], experiments: Iterable[RunningExperiment] = ()) -> CompiledFlags:
    """Return flags and the experiments that run on them, ready for the engine."""
    flags = {flag.key: flag for flag in rollouts}
    by_key = {row.key: row for row in experiments}
    of_flag = {key: tuple(row for row in by_key.values() if row.flag_key == key) for key in flags}
    features = {key: build_feature(flag, of_flag[key]) for key, flag in flags.items()}
    known = {key: CompiledFlag(flag, required_attributes(flag, flags), of_flag[key]) for key, flag in flags.items()}
    return CompiledFlags(
        context=GlobalContext(
            options=Options(sticky_bucket_service=ReadOnlyStickyBuckets()),
            features={key: Feature(**feature) for key, feature in features.items()},
        ),
        flags=known,
        experiments=by_key,
        features=features,
        digest=payload_digest(features, by_key),
    )


def payload_digest(features: Mapping[str, object], experiments: Mapping[str, RunningExperiment]) -> str:
    """Return a short name of exactly this payload."""
    everything = [features, {key: asdict(row) for key, row in experiments.items()}]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def required_attributes(flag: Rollout, flags: Mapping[str, Rollout]) -> frozenset[str]:
    """Return the attributes that *flag* and the flags that it needs ask for."""
    found: set[str] = set()
    todo, met = [flag.key], set[str]()
    while todo:
        key = todo.pop()
        if key in met or key not in flags:
            continue
        met.add(key)
        found.update(*(rule.attributes for rule in flags[key].rules))
        todo += [needs for needs, _ in flags[key].prerequisites]
    return frozenset(found)


def build_feature(rollout: Rollout, experiments: Iterable[RunningExperiment] = ()) -> dict[str, Any]:
    """
    Return the flag as GrowthBook writes one: prerequisites, then rules, then experiments, then the rollout.

    Its key is the seed, so two flags at 25 % meet different units. Off is off: no experiment outlives the switch.
    """
    if not rollout.is_enabled:
        return {"defaultValue": rollout.off_value}
    rules = [
        part
        for number, rule in enumerate(rollout.rules, 1)
        for part in build_engine_rules(rollout, rule, f"rule:{number}")
    ]
    last = build_engine_rules(rollout, RolloutRule(percentage=rollout.percentage), "rollout")
    ordered = [*rules, *experiment_rules(experiments, rollout.default_value), *last]
    if needs := [{"id": key, "condition": {"value": value}} for key, value in rollout.prerequisites]:
        # Each rule is passed over when a prerequisite fails. The engine's gate would make the flag null instead.
        ordered = [rule | {"parentConditions": needs} for rule in ordered]
    return {"defaultValue": rollout.default_value, "rules": ordered}


def build_engine_rules(rollout: Rollout, rule: RolloutRule, name: str) -> list[dict[str, Any]]:
    """Return the engine's rules for one of ours: one for each value that it serves, each with its range of units."""
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
        {"id": f"{name}:{what}", "force": value} | condition | unit_range(rollout.key, start, width, share)
        for what, value, start, width in served
        if width * share > 0
    ]


def unit_range(seed: str, start: float, width: float, share: float) -> dict[str, Any]:
    """Return which units: a part that widens from its own start. Everybody needs no id, so it asks for none."""
    if width == 1.0 and share == 1.0:
        return {}
    # The last arm ends at 1 exactly: sums of shares may stop a hair before it.
    end = 1.0 if share == 1.0 and start + width > 1 - 1e-9 else start + width * share
    return {"hashAttribute": HASH_ATTRIBUTE, "hashVersion": HASH_VERSION, "seed": seed, "range": [start, end]}


def evaluate_with_engine(
    compiled: CompiledFlags,
    key: str,
    unit_id: str,
    assignments: Mapping[str, str] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> FlagAnswer:
    """Return what the flag is worth for this unit, given its earlier assignments; None if there is no such flag."""
    known = compiled.flags.get(key)
    if known is None:
        return FlagAnswer(None)
    if not known.rollout.is_enabled:
        return FlagAnswer(known.rollout.off_value)
    found = eval_feature(key, build_evaluation_context(compiled, unit_id, assignments or {}, attributes or {}))
    result = found.experimentResult
    if found.experiment is None or result is None:
        return FlagAnswer(found.value, rule=found.ruleId or "")
    row = compiled.experiments[found.experiment.key]
    arm = row.get_arm(result.key)
    exposed = None if result.stickyBucketUsed else ExposedVariant(row.experiment_id, row.phase_id, arm.key, arm.share)
    return FlagAnswer(found.value, arm.key, arm.config, exposed, f"experiment:{row.key}")


def variant_name(compiled_flag: CompiledFlag, answer: FlagAnswer) -> str:
    """Return the name of what the flag served: a variant's, or on, default, off."""
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
