"""
Who is in: the pure rule, evaluated by GrowthBook's engine. No Django here.

A rule says `range` and never `coverage`: the engine's twins in other languages agree on the first only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from growthbook.common_types import EvaluationContext, Feature, GlobalContext, Options, StackContext, UserContext
from growthbook.core import eval_feature

HASH_VERSION = 2  # 10,000 buckets; version 1 has 1,000


@dataclass(frozen=True, slots=True)
class Rollout:
    """A flag as the rule sees it."""

    key: str
    is_enabled: bool
    percentage: int


def compile_rollouts(rollouts: Iterable[Rollout]) -> GlobalContext:
    """Return what the engine evaluates from; made once per change, not per request."""
    return GlobalContext(options=Options(), features={r.key: Feature(**feature_of(r)) for r in rollouts})


def feature_of(rollout: Rollout) -> dict[str, Any]:
    """Return the flag as GrowthBook writes one; its key is the seed, so two flags at 25 % meet different members."""
    if not rollout.is_enabled:
        return {"defaultValue": False}
    rule = {
        "force": True,
        "hashAttribute": "id",
        "hashVersion": HASH_VERSION,
        "seed": rollout.key,
        "range": [0, rollout.percentage / 100],
    }
    return {"defaultValue": False, "rules": [rule]}


def is_on(compiled: GlobalContext, key: str, unit_id: str) -> bool:
    """Return whether the flag is on for this unit; a flag that is not there is off."""
    user = UserContext(attributes={"id": unit_id})
    context = EvaluationContext(user=user, global_ctx=compiled, stack=StackContext(evaluated_features=set()))
    return eval_feature(key, context).value is True
