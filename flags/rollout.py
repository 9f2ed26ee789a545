"""
Who is in: the pure rule, evaluated by GrowthBook's engine. No Django here.

A rule says `range` and never `coverage`: the engine's twins in other languages agree on the first only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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

from flags.experiments.rules import Answer, Exposed, Running, experiment_rules, kept_assignments

HASH_VERSION = 2  # 10,000 buckets; version 1 has 1,000


@dataclass(frozen=True, slots=True)
class Rollout:
    """A flag as the rule sees it."""

    key: str
    is_enabled: bool
    percentage: int


class KeptElsewhere(AbstractStickyBucketService):
    """Tells the engine to heed the assignments that it is handed; exposures, not the engine, record new ones."""

    def get_assignments(self, attributeName: str, attributeValue: str) -> dict[str, Any] | None:  # noqa: N803
        return None

    def save_assignments(self, doc: dict[str, Any]) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the engine evaluates from; made once per change, not per request."""

    context: GlobalContext
    experiments: Mapping[str, Running] = field(default_factory=dict)
    """By the experiment's key."""

    def reading_assignments(self, key: str) -> list[Running]:
        """Return the flag's experiments in which an earlier assignment holds."""
        return [row for row in self.experiments.values() if row.flag_key == key and row.reads_assignments]


def compile_rollouts(rollouts: Iterable[Rollout], experiments: Iterable[Running] = ()) -> Compiled:
    """Return flags and the experiments that run on them, ready for the engine."""
    by_key = {row.key: row for row in experiments}
    features = {
        flag.key: Feature(**feature_of(flag, [row for row in by_key.values() if row.flag_key == flag.key]))
        for flag in rollouts
    }
    return Compiled(GlobalContext(options=Options(sticky_bucket_service=KeptElsewhere()), features=features), by_key)


def feature_of(rollout: Rollout, experiments: Iterable[Running] = ()) -> dict[str, Any]:
    """
    Return the flag as GrowthBook writes one; its key is the seed, so two flags at 25 % meet different members.

    Off is off: no experiment outlives the flag's switch.
    """
    if not rollout.is_enabled:
        return {"defaultValue": False}
    rule = {
        "force": True,
        "hashAttribute": "id",
        "hashVersion": HASH_VERSION,
        "seed": rollout.key,
        "range": [0, rollout.percentage / 100],
    }
    return {"defaultValue": False, "rules": [*experiment_rules(experiments), rule]}


def evaluate(compiled: Compiled, key: str, unit_id: str, assigned: Mapping[str, str] | None = None) -> Answer:
    """Return what the flag is worth for this unit, given its earlier assignments; None if there is no such flag."""
    documents = kept_assignments(unit_id, assigned or {})
    user = UserContext(attributes={"id": unit_id}, sticky_bucket_assignment_docs=documents)
    context = EvaluationContext(user=user, global_ctx=compiled.context, stack=StackContext(evaluated_features=set()))
    found = eval_feature(key, context)
    result = found.experimentResult
    if found.experiment is None or result is None:
        return Answer(found.value)
    row = compiled.experiments[found.experiment.key]
    arm = row.arm(result.key)
    exposed = None if result.stickyBucketUsed else Exposed(row.experiment_id, row.phase_id, arm.key, arm.share)
    return Answer(found.value, arm.key, arm.config, exposed)
