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
    Answer,
    Arm,
    Exposed,
    Running,
    experiment_rules,
    kept_assignments,
)

OFF, ON, DEFAULT = "off", "on", "default"
"""Names of what a flag without variants serves, beside the names of variants."""


@dataclass(frozen=True, slots=True)
class Rule:
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
    arms: tuple[Arm, ...] = ()
    """Variants and their shares of those who have the flag."""
    rules: tuple[Rule, ...] = ()
    prerequisites: tuple[tuple[str, object], ...] = ()
    """Another flag's key, and the value that it must have for the unit."""


class KeptElsewhere(AbstractStickyBucketService):
    """Tells the engine to heed the assignments that it is handed; exposures, not the engine, record new ones."""

    def get_assignments(self, attributeName: str, attributeValue: str) -> dict[str, Any] | None:  # noqa: N803
        return None

    def save_assignments(self, doc: dict[str, Any]) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a flag beside what the engine evaluates."""

    rollout: Rollout
    attributes: frozenset[str]
    """What its rules, and those of the flags that it needs, ask of a unit besides its id."""
    experiments: tuple[Running, ...]

    @property
    def reading_assignments(self) -> list[Running]:
        """Return the flag's experiments in which an earlier assignment holds."""
        return [row for row in self.experiments if row.reads_assignments]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the engine evaluates from; made once per change, not per request."""

    context: GlobalContext
    flags: Mapping[str, Known] = field(default_factory=dict)
    experiments: Mapping[str, Running] = field(default_factory=dict)
    """By the experiment's key."""
    features: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Each flag as GrowthBook's payload has it."""
    digest: str = ""
    """Another if anything in it is another."""


def compile_rollouts(rollouts: Iterable[Rollout], experiments: Iterable[Running] = ()) -> Compiled:
    """Return flags and the experiments that run on them, ready for the engine."""
    flags = {flag.key: flag for flag in rollouts}
    by_key = {row.key: row for row in experiments}
    of_flag = {key: tuple(row for row in by_key.values() if row.flag_key == key) for key in flags}
    features = {key: feature_of(flag, of_flag[key]) for key, flag in flags.items()}
    known = {key: Known(flag, needed(flag, flags), of_flag[key]) for key, flag in flags.items()}
    return Compiled(
        context=GlobalContext(
            options=Options(sticky_bucket_service=KeptElsewhere()),
            features={key: Feature(**feature) for key, feature in features.items()},
        ),
        flags=known,
        experiments=by_key,
        features=features,
        digest=digest_of(features, by_key),
    )


def digest_of(features: Mapping[str, object], experiments: Mapping[str, Running]) -> str:
    """Return a short name of exactly this payload."""
    everything = [features, {key: asdict(row) for key, row in experiments.items()}]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def needed(flag: Rollout, flags: Mapping[str, Rollout]) -> frozenset[str]:
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


def feature_of(rollout: Rollout, experiments: Iterable[Running] = ()) -> dict[str, Any]:
    """
    Return the flag as GrowthBook writes one: prerequisites, then rules, then experiments, then the rollout.

    Its key is the seed, so two flags at 25 % meet different units. Off is off: no experiment outlives the switch.
    """
    if not rollout.is_enabled:
        return {"defaultValue": rollout.off_value}
    rules = [part for number, rule in enumerate(rollout.rules, 1) for part in parts_of(rollout, rule, f"rule:{number}")]
    last = parts_of(rollout, Rule(percentage=rollout.percentage), "rollout")
    ordered = [*rules, *experiment_rules(experiments, rollout.default_value), *last]
    if needs := [{"id": key, "condition": {"value": value}} for key, value in rollout.prerequisites]:
        # Each rule is passed over when a prerequisite fails. The engine's gate would make the flag null instead.
        ordered = [rule | {"parentConditions": needs} for rule in ordered]
    return {"defaultValue": rollout.default_value, "rules": ordered}


def parts_of(rollout: Rollout, rule: Rule, name: str) -> list[dict[str, Any]]:
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
        {"id": f"{name}:{what}", "force": value} | condition | units_of(rollout.key, start, width, share)
        for what, value, start, width in served
        if width * share > 0
    ]


def units_of(seed: str, start: float, width: float, share: float) -> dict[str, Any]:
    """Return which units: a part that widens from its own start. Everybody needs no id, so it asks for none."""
    if width == 1.0 and share == 1.0:
        return {}
    # The last arm ends at 1 exactly: sums of shares may stop a hair before it.
    end = 1.0 if share == 1.0 and start + width > 1 - 1e-9 else start + width * share
    return {"hashAttribute": HASH_ATTRIBUTE, "hashVersion": HASH_VERSION, "seed": seed, "range": [start, end]}


def evaluate(
    compiled: Compiled,
    key: str,
    unit_id: str,
    assigned: Mapping[str, str] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> Answer:
    """Return what the flag is worth for this unit, given its earlier assignments; None if there is no such flag."""
    known = compiled.flags.get(key)
    if known is None:
        return Answer(None)
    if not known.rollout.is_enabled:
        return Answer(known.rollout.off_value)
    found = eval_feature(key, context_of(compiled, unit_id, assigned or {}, attributes or {}))
    result = found.experimentResult
    if found.experiment is None or result is None:
        return Answer(found.value, rule=found.ruleId or "")
    row = compiled.experiments[found.experiment.key]
    arm = row.arm(result.key)
    exposed = None if result.stickyBucketUsed else Exposed(row.experiment_id, row.phase_id, arm.key, arm.share)
    return Answer(found.value, arm.key, arm.config, exposed, f"experiment:{row.key}")


def name_of(known: Known, answer: Answer) -> str:
    """Return the name of what the flag served: a variant's, or on, default, off."""
    if not known.rollout.is_enabled:
        return OFF
    if answer.variant or not answer.rule or answer.rule.startswith("holdout:"):
        return answer.variant or DEFAULT
    return answer.rule.rpartition(":")[2]


def context_of(
    compiled: Compiled, unit_id: str, assigned: Mapping[str, str], attributes: Mapping[str, object]
) -> EvaluationContext:
    """Return the engine's context for one unit."""
    user = UserContext(
        attributes={**attributes, "id": unit_id},
        sticky_bucket_assignment_docs=kept_assignments(unit_id, assigned) if assigned else {},
    )
    return EvaluationContext(user=user, global_ctx=compiled.context, stack=StackContext(evaluated_features=set()))
