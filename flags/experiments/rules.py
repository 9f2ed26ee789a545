"""
What runs, as rules of GrowthBook's engine. No Django here.

A variant is a range of the unit's hash, written out: raising the traffic widens each range from its own start, so
nobody changes variant, and the engine's twins in other languages agree. Weights belong to a phase, and a phase has its
own seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

HASH_VERSION = 2  # 10,000 buckets; version 1 has 1,000
HASH_ATTRIBUTE = "id"

EngineRule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExperimentArm:
    """A variant as it runs, of a flag or of an experiment on it."""

    key: str
    share: float
    """Of the units that have the flag or are in the experiment, 0 to 1; all together 1. A unit's propensity."""
    value: object
    """The flag's value."""
    config: Mapping[str, object] = field(default_factory=dict)
    """Settings that come with the variant of an experiment; a flag's has none."""


@dataclass(frozen=True, slots=True)
class RunningExperiment:
    """An experiment's open phase."""

    experiment_id: int
    phase_id: int
    key: str
    flag_key: str
    seed: str
    traffic: float
    """Share of the units that are in, 0 to 1."""
    arms: tuple[ExperimentArm, ...]
    group: str = ""
    slot: tuple[float, float] = (0.0, 1.0)
    """Its part of the group's units; experiments of a group have parts that do not overlap."""
    holdout: str = ""
    holdout_share: float = 0.0
    has_earlier_assignments: bool = False
    """Whether an earlier phase's assignments hold: then a unit's is looked up before it is hashed."""

    def get_arm(self, key: str) -> ExperimentArm:
        """Return the arm of this key, or raise `KeyError`."""
        return {arm.key: arm for arm in self.arms}[key]


@dataclass(frozen=True, slots=True)
class ExposedVariant:
    """That a unit was given a variant of a phase: what an exposure is written from."""

    experiment_id: int
    phase_id: int
    variant: str
    propensity: float


@dataclass(frozen=True, slots=True)
class FlagAnswer:
    """What a flag is worth for a unit, and through which variant of which experiment, if any."""

    value: object
    variant: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    exposed_variant: ExposedVariant | None = None
    """None outside an experiment, and for a unit that keeps the variant of an earlier phase: it was exposed then."""
    rule: str = field(default="", compare=False)
    """Which rule decided: rule:1:on, rollout:on, experiment:key, holdout:key; empty: none did, or the flag is off."""


def experiment_rules(rows: Iterable[RunningExperiment], default: object = False) -> list[EngineRule]:
    """
    Return a flag's rules for the experiments that run on it, to stand before its rollout.

    A unit that a holdout keeps out gets *default*; one that no experiment takes falls through to the next rule.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    held = {row.holdout: row.holdout_share for row in ordered if row.holdout}
    return [_holdout_rule(key, share, default) for key, share in held.items()] + [
        _experiment_rule(row) for row in ordered
    ]


def _holdout_rule(key: str, share: float, default: object) -> EngineRule:
    """Return the rule that gives the held-out units the default. Its seed is the holdout's: the same units in all."""
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
    """Return earlier assignments (experiment key to variant key) as the engine's sticky documents."""
    document = {
        "attributeName": HASH_ATTRIBUTE,
        "attributeValue": unit_id,
        "assignments": {f"{key}__0": variant for key, variant in assignments.items()},
    }
    return {f"{HASH_ATTRIBUTE}||{unit_id}": document} if assignments else {}
