"""
Running experiments as rules of GrowthBook's engine. This module does not use Django.

A variant is an explicit range of the unit's bucket, see `flags.rollout`. Raising the traffic moves the end of each
range and keeps its start, so that no unit changes its variant. Weights belong to a phase, and each phase has its own
seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

HASH_VERSION = 2  # 10,000 buckets; version 1 has 1,000. A change would reassign every unit.
HASH_ATTRIBUTE = "id"

OFF, ON, DEFAULT = "off", "on", "default"
"""Names of the values that a flag serves without a variant. Variants cannot have these names."""

EngineRule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExperimentArm:
    """A variant of a flag or of a running experiment."""

    key: str
    share: float
    """Fraction of the units with the flag or in the experiment, 0 to 1; all shares sum to 1. The unit's propensity."""
    value: object
    """The flag's value."""
    config: Mapping[str, object] = field(default_factory=dict)
    """Settings of an experiment's variant; empty for a flag's variant."""


@dataclass(frozen=True, slots=True)
class RunningExperiment:
    """The open phase of an experiment."""

    experiment_id: int
    phase_id: int
    key: str
    flag_key: str
    seed: str
    traffic: float
    """Fraction of units in the experiment, 0 to 1."""
    arms: tuple[ExperimentArm, ...]
    group: str = ""
    slot: tuple[float, float] = (0.0, 1.0)
    """The experiment's range of the group's buckets. Slots of one group do not overlap."""
    holdout: str = ""
    holdout_share: float = 0.0
    has_earlier_assignments: bool = False
    """Whether units keep the variant of an earlier phase. If so, a unit's assignment is looked up before hashing."""

    def get_arm(self, key: str) -> ExperimentArm:
        """Return the arm with this key. Raises `KeyError`."""
        return {arm.key: arm for arm in self.arms}[key]


@dataclass(frozen=True, slots=True)
class ExposedVariant:
    """A variant of a phase that a unit was given; an exposure is written from it."""

    experiment_id: int
    phase_id: int
    variant: str
    propensity: float


@dataclass(frozen=True, slots=True)
class FlagAnswer:
    """A flag's value for a unit, and the experiment's variant that decided it, if any."""

    value: object
    variant: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    exposed_variant: ExposedVariant | None = None
    """None outside an experiment, and for a unit that keeps the variant of an earlier phase: its exposure exists."""
    rule: str = field(default="", compare=False)
    """The deciding rule: rule:1:on, rollout:on, experiment:key or holdout:key; empty if none, or if the flag is off."""


def experiment_rules(rows: Iterable[RunningExperiment], default: object = False) -> list[EngineRule]:
    """
    Return the engine rules of a flag's running experiments; they precede the rules of its rollout.

    Held-out units get *default*. Units that no experiment takes fall through to the next rule.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    holdouts = {row.holdout: row.holdout_share for row in ordered if row.holdout}
    return [_holdout_rule(key, share, default) for key, share in holdouts.items()] + [
        _experiment_rule(row) for row in ordered
    ]


def _holdout_rule(key: str, share: float, default: object) -> EngineRule:
    """Return the rule that gives held-out units the default. The seed is the holdout's: the same units in all flags."""
    return {
        "id": f"holdout:{key}",
        "force": default,
        "hashAttribute": HASH_ATTRIBUTE,
        "hashVersion": HASH_VERSION,
        "seed": f"holdout:{key}",
        "range": [0, share],
    }


def _experiment_rule(row: RunningExperiment) -> EngineRule:
    starts = accumulate((arm.share for arm in row.arms), initial=0.0)
    rule: EngineRule = {
        "id": f"experiment:{row.key}",
        "key": row.key,
        "variations": [arm.value for arm in row.arms],
        "meta": [{"key": arm.key} for arm in row.arms],
        "ranges": [[start, start + row.traffic * arm.share] for start, arm in zip(starts, row.arms, strict=False)],
        "hashAttribute": HASH_ATTRIBUTE,
        "hashVersion": HASH_VERSION,
        "seed": row.seed,
        "disableStickyBucketing": not row.has_earlier_assignments,
    }
    if row.group:
        slot = {"seed": f"group:{row.group}", "ranges": [list(row.slot)], "hashVersion": HASH_VERSION}
        rule["filters"] = [{**slot, "attribute": HASH_ATTRIBUTE}]
    return rule


def sticky_bucket_docs(unit_id: str, assignments: Mapping[str, str]) -> dict[str, Any]:
    """Return earlier assignments (experiment key to variant key) as the engine's sticky bucket documents."""
    document = {
        "attributeName": HASH_ATTRIBUTE,
        "attributeValue": unit_id,
        "assignments": {f"{key}__0": variant for key, variant in assignments.items()},
    }
    return {f"{HASH_ATTRIBUTE}||{unit_id}": document} if assignments else {}
